"""When an editor has seen enough of a completion, line by line."""

from __future__ import annotations

import time


class Lines:
    """Follows one answer.

    Args:
        most_s: so long after the first piece it ends with the next line; None: it does not.
        n_indent: it ends before a line, but for the first, that begins with less white space; 0: it does not.
    """

    def __init__(self, most_s: float | None, n_indent: int) -> None:
        self._most_s, self._n_indent = most_s, n_indent
        self._since: float | None = None
        self._text = ""
        self._line = 0  # where the line begins that is looked at
        self._end: int | None = None

    def enough(self, text: str) -> bool:
        """Takes the next piece. Whether the answer ends with it."""
        now = time.perf_counter()
        self._since = now if self._since is None else self._since
        self._text += text
        late = self._most_s is not None and now - self._since > self._most_s
        return self._is_out() or (late and "\n" in text)

    def kept(self, text: str) -> str:
        """The whole text without the line before which it ends."""
        return text[: self._end]

    def _is_out(self) -> bool:
        while self._n_indent and (newline := self._text.find("\n", self._line)) >= 0:
            rest = self._text[newline + 1 :]
            n = len(rest) - len(rest.lstrip(" \t"))
            if n == len(rest):  # how far in it begins is not certain yet
                return False
            self._line = newline + 1
            if n < self._n_indent:
                self._end = self._line + n
                return True
        return False
