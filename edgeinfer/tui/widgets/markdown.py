"""Markdown that grows as a model writes it, without keeping the keyboard waiting."""

from __future__ import annotations

import asyncio
import functools
import re
import time

from markdown_it import MarkdownIt
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownFence

_EVERY_S = (0.05, 0.5)  # between two drawings, at least and at most
_SHARE = 4  # times as long as the last drawing took is waited for the next one
_PIECE = 800  # characters; Textual draws a list anew for each of its items, 790 ms for one of 150
_PARAGRAPH = 1600  # characters; longer ones are cut between sentences, for all of one is wrapped anew
_MOST_COLOURED = (4_000, 100_000)  # characters of code while it grows (15 ms), and afterwards
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
_ITEM = re.compile(r"(?:[-*+]|\d{1,9}[.)])\s+\S")


class CodeBlock(MarkdownFence):
    """Code with colours, unless it is so long that they would take too long."""

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:
        """Colours for what is still growing."""
        if len(code) > _MOST_COLOURED[0]:
            return Content(code)
        return super().highlight(code, language, ansi, dark)

    def end(self) -> None:
        """No more will come: colours for longer code too."""
        if _MOST_COLOURED[0] < len(self.code) <= _MOST_COLOURED[1]:
            theme = self.app.current_theme
            self.set_content(super().highlight(self.code, self.lexer, self.app.native_ansi_color, theme.dark))


class _Piece(Markdown):
    BLOCKS = {**Markdown.BLOCKS, "fence": CodeBlock, "code_block": CodeBlock}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text, open_links=False, parser_factory=_parser)


class GrowingMarkdown(Vertical):
    """Text that comes in pieces of any size.

    It is drawn at most twenty times a second, and less often where drawing takes long. What is written is cut
    between blocks or items of a list; only what comes after the last cut is parsed and laid out again.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self._shown = text  # since the last cut
        self._new: list[str] = []
        self._drawing = asyncio.Lock()
        self._is_due = False
        self._took_s = 0.0

    def compose(self) -> ComposeResult:
        """What is there at the beginning."""
        yield _Piece(self._shown)

    def grow(self, text: str) -> None:
        """More of it; drawn soon."""
        self._new.append(text)
        if not self._is_due:
            self._is_due = True
            self.set_timer(min(max(_EVERY_S[0], _SHARE * self._took_s), _EVERY_S[1]), self._draw)

    async def end(self) -> None:
        """Draw all of it."""
        await self._draw()
        for block in self.query(CodeBlock):
            block.end()

    async def _draw(self) -> None:
        async with self._drawing:
            self._is_due = False
            text = "".join(self._new)
            self._new.clear()
            if not text or not self.is_mounted:
                return
            start = time.perf_counter()
            await self._show(self._shown + text)
            self._took_s = time.perf_counter() - start

    async def _show(self, text: str) -> None:
        """`text` in the place of what is shown since the last cut."""
        piece = self.query(_Piece).last()
        at = _last_cut(text) if len(text) > _PIECE else 0
        before, behind = (text[:at], text[at:]) if at else (text, "")
        if before.startswith(self._shown):
            await piece.append(before[len(self._shown) :])
        else:  # the cut comes before what is shown already
            await piece.update(before)
        self._shown = before
        if at:
            piece.set_class(bool(_ITEM.match(behind)) or before[-1] != "\n", "goes-on")
            self._shown = behind
            await self.mount(_Piece(behind))


def _last_cut(text: str) -> int:
    """Where the last block, item of a list, or sentence of a very long paragraph begins; 0: nowhere."""
    cut = at = 0
    fence, is_blank = "", False
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if not fence and at and (_ITEM.match(line) or (is_blank and not line[0].isspace())):
            cut = at
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
        is_blank = not line.strip()
        at += len(line)
    if cut == 0 and not fence and len(text) > _PARAGRAPH:
        sentence = text.rfind(". ") + 2
        return sentence if sentence > 2 and text.count("`", 0, sentence) % 2 == 0 else 0
    return cut


@functools.cache
def _parser() -> MarkdownIt:
    return MarkdownIt("gfm-like")
