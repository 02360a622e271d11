"""Markdown that grows as a model writes it, without keeping the keyboard waiting."""

from __future__ import annotations

import asyncio
import re
import time

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Size
from textual.highlight import highlight
from textual.selection import Selection
from textual.widget import Widget

from edgeinfer.tui.layout import STYLES, laid_out
from edgeinfer.tui.messages import Drawn
from edgeinfer.tui.pieces import Cutter, Piece

_EVERY_S = (0.05, 0.5)  # between two drawings, at least and at most
_SHARE = 4  # times as long as the last drawing took is waited for the next one


class Block(Widget):
    """A piece of a text. One widget for several paragraphs: Textual walks through all of them to draw one."""

    def __init__(self, piece: Piece) -> None:
        super().__init__()
        self._content = Content()
        self._laid_out: tuple[Piece, int] | None = None  # what `_content` is, and how wide
        self._width = self._n_lines = 0  # in the layout of the screen
        self.show(piece)

    def show(self, piece: Piece) -> None:
        """This in place of what is shown."""
        self._piece = piece
        self.set_class(piece.language is not None, "code-block")
        self.set_class(piece.goes_on, "goes-on")
        self.set_class(piece.continues, "continues")
        self.refresh(layout=self._height(self._width) != self._n_lines)

    def render(self) -> Content:
        """Lines, each as wide as there is room."""
        return self._lines(self.content_size.width)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Lines."""
        self._width, self._n_lines = width, self._height(width)
        return self._n_lines

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """What was broken to fit is whole again."""
        text = selection.extract(self._content.plain)
        return re.sub(r"(?<=\S) \n[ \u258c]*", " ", text), "\n"

    def _height(self, width: int) -> int:
        return self._lines(width).get_height(self.styles.get_rules(), width) if width else 0

    def _lines(self, width: int) -> Content:
        if self._laid_out != (self._piece, width):
            self._laid_out = self._piece, width
            piece = self._piece
            self._content = laid_out(piece.text, width) if piece.language is None else _code(piece)
        return self._content


def _code(piece: Piece) -> Content:
    code = piece.text.removesuffix("\n").expandtabs(4)
    return highlight(code, language=piece.language or "text")


class GrowingMarkdown(Vertical):
    """Text that comes in pieces of any size.

    It is drawn at most twenty times a second, and less often where drawing takes long; only what comes behind
    the last settled piece is laid out again.
    """

    COMPONENT_CLASSES = STYLES  # here, as each widget that has them takes 5 ms to mount

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self._cutter = Cutter()
        self._cutter.add(text)
        self._growing: Block | None = None  # the last one
        self._n_blocks = 0
        self._new: list[str] = []
        self._drawing = asyncio.Lock()
        self._is_due = False
        self._took_s = 0.0

    def compose(self) -> ComposeResult:
        """What is there at the beginning."""
        yield from self._blocks(whole=True)

    def grow(self, text: str) -> None:
        """More of it; drawn soon."""
        self._new.append(text)
        if not self._is_due:
            self._is_due = True
            self.set_timer(min(max(_EVERY_S[0], _SHARE * self._took_s), _EVERY_S[1]), self._draw)

    async def end(self) -> None:
        """Draw all of it."""
        await self._draw(whole=True)

    async def _draw(self, whole: bool = False) -> None:
        async with self._drawing:
            self._is_due = False
            self._cutter.add("".join(self._new))
            self._new.clear()
            if self.is_mounted:
                start = time.perf_counter()
                await self.mount_all(self._blocks(whole))
                self.post_message(Drawn())
                self.call_after_refresh(self._drawn, start)

    def _drawn(self, start: float) -> None:
        self._took_s = time.perf_counter() - start

    def _blocks(self, whole: bool) -> list[Block]:
        """Those that are new; the last one of before has grown or is settled."""
        new: list[Block] = []
        for piece in self._cutter.settled:
            self._put(piece, new)
            self._growing = None
        self._cutter.settled.clear()
        rest = self._cutter.rest(whole)
        if rest is not None:
            self._put(rest, new)
        return new

    def _put(self, piece: Piece, new: list[Block]) -> None:
        if self._growing is None:
            self._growing = Block(piece)
            self._growing.set_class(not self._n_blocks, "first")  # :first-child is asked of all at each mount
            self._n_blocks += 1
            new.append(self._growing)
        else:
            self._growing.show(piece)
