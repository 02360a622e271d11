"""Cuts Markdown that grows into pieces that are laid out once.

Where a text is cut follows from the text alone, not from how it came: an answer looks the same while it grows
and when it is opened again.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_PIECE = 800  # characters; blocks and items of lists are put together up to here
_LONG = 2_000  # characters of one block; longer ones are cut too, for all of it is laid out when it grows
_OPENING = 40  # characters of a line that opens code; longer ones are shown before they end
_UNDECIDED = 16  # characters that it takes to see what a line begins
_FENCE = re.compile(r"(`{3,}|~{3,})([^`\n]*)\n")
_ANY_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
_HALF_FENCE = re.compile(r"(?:^|(?<=\n))(?:`{1,2}|`{3,}[^`\n]*|~{1,2}|~{3,}[^\n]*)\Z")
_TABLE = re.compile(r"[^\n|]*\|[^\n]*\n *\|?[ :]*-[-| :]*\n")
_ITEM = re.compile(r"(?:[-*+]|\d{1,9}[.)])\s+\S")
_OTHER_BLOCK = re.compile(rf"[>|#\s]|{_ITEM.pattern}")  # than a paragraph


class Piece(NamedTuple):
    """A part of a text.

    Attributes:
        text: of it, Markdown or code.
        language: of code, perhaps empty; None: it is Markdown.
        goes_on: the next piece continues the same block.
        continues: so does this one.
    """

    text: str
    language: str | None = None
    goes_on: bool = False
    continues: bool = False


class Cutter:
    """Takes a text as it grows.

    Attributes:
        settled: pieces that will not change any more; who shows them takes them out.
    """

    def __init__(self) -> None:
        self.settled: list[Piece] = []
        self._rest = ""  # behind them
        self._opening = ""  # the line that opens the code which `_rest` is in, or the head of its table
        self._continues = False

    def add(self, text: str) -> None:
        """More of it."""
        self._rest += text
        while self._settle():
            pass

    def rest(self, whole: bool = False) -> Piece | None:
        """What is behind the settled pieces, if anything; `whole`: nothing comes any more."""
        text = self._rest
        closing = self._closing()
        if closing:
            text = text[: closing.start()]
        elif not whole:
            half = _HALF_FENCE.search(text)  # three backticks come one by one
            if half and len(half[0]) <= _OPENING:
                text = text[: half.start()]
        return self._piece(text) if text.strip() or self._language is not None else None

    @property
    def _language(self) -> str | None:
        fence = _FENCE.match(self._opening)
        return fence[2].strip() if fence else None

    def _piece(self, text: str, goes_on: bool = False) -> Piece:
        if self._language is None:
            text = self._opening + text
        return Piece(text, self._language, goes_on, self._continues)

    def _settle(self) -> bool:
        """Whether one more piece is."""
        return self._settle_code() if self._language is not None else self._settle_text()

    def _closing(self) -> re.Match[str] | None:
        """The line that closes the code that `_rest` is in."""
        if self._language is None:
            return None
        mark = self._opening[: len(self._opening) - len(self._opening.lstrip(self._opening[0]))]
        return re.search(rf"^ {{0,3}}{mark}{mark[0]}*[ \t]*(?:\n|\Z)", self._rest, re.MULTILINE)

    def _settle_code(self) -> bool:
        closing, end = self._closing(), self._rest.find("\n", _LONG) + 1
        if closing and closing[0].endswith("\n") and not 0 < end <= closing.start():
            self._cut(closing.start(), closing.end())
            return True
        if end:
            self._cut(end, end, self._opening)
        return bool(end)

    def _settle_text(self) -> bool:
        fence = re.search(rf"^{_FENCE.pattern}", self._rest, re.MULTILINE)
        if fence:
            end, opening = _end(self._rest[: fence.start()], self._opening, 0)
        else:
            end, opening = _end(_HALF_FENCE.sub("", self._rest), self._opening, _UNDECIDED)
        if end:
            self._cut(end, end, opening)
        elif fence:
            self._cut(fence.start(), fence.end(), fence[0])
        return bool(end or fence)

    def _cut(self, end: int, begin: int, opening: str = "") -> None:
        """A piece ends, the next one begins."""
        text = self._rest[:end]
        goes_on = end == begin and not text.endswith("\n\n")
        if text.strip() or self._language is not None:
            self.settled.append(self._piece(text, goes_on))
        self._rest, self._opening, self._continues = self._rest[begin:], opening, goes_on


def _end(text: str, opening: str, undecided: int) -> tuple[int, str]:
    """Where the first piece of a text without code blocks ends, 0: nowhere yet; what opens the next one."""
    decided = len(text) - undecided
    if decided <= _PIECE:
        return 0, ""
    blocks = [at for at in _blocks(text) if at < decided]
    small = [at for at in blocks if at <= _PIECE]
    if small:
        return small[-1], ""
    table = _TABLE.match(opening + text)
    end = text.find("\n", _LONG) + 1 if table else _sentence(text)
    first = blocks[0] if blocks else decided
    if 0 < end < first:
        return end, table[0] if table else ""
    return (first, "") if blocks else (0, "")


def _blocks(text: str) -> list[int]:
    """Where blocks and items of lists begin, but for the first."""
    found, fence, is_blank, at = [], "", False, 0
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        if at and not fence and (_ITEM.match(line) or (is_blank and not line[0].isspace())):
            found.append(at)
        mark = _ANY_FENCE.match(line)  # of code within an item
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
        is_blank = not line.strip()
        at += len(line)
    return found


def _sentence(text: str) -> int:
    """Where the first one behind so much of a paragraph begins; 0: nowhere, or it is no paragraph."""
    if _OTHER_BLOCK.match(text):
        return 0
    for end in re.finditer(r"[.!?:;,] ", text[_LONG:]):
        at = _LONG + end.end()
        if all(text.count(mark, 0, at) % 2 == 0 for mark in ("`", "**")):
            return at
    return text.find(" ", 2 * _LONG) + 1
