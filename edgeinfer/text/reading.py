"""Readers of answers: token ids in, parts out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edgeinfer.text.parts import Content, Part
from edgeinfer.text.stream import TextStream


class Reader(Protocol):
    """Reads one answer.

    Attributes:
        stopped_by: the stop string that was met, or None.
        done: the answer is over, by a stop string or because no more was asked for.
    """

    @property
    def stopped_by(self) -> str | None: ...
    @property
    def done(self) -> bool: ...

    def push(self, token: int, /) -> Sequence[Part]:
        """The parts that are certain now that this token has come."""

    def finish(self) -> Sequence[Part]:
        """The rest."""


class PlainReader:
    """All of the text is content."""

    def __init__(self, text: TextStream) -> None:
        self._text = text

    @property
    def stopped_by(self) -> str | None:
        """See `TextStream`."""
        return self._text.stopped_by

    @property
    def done(self) -> bool:
        """See `Reader`."""
        return self.stopped_by is not None

    def push(self, token: int) -> Sequence[Part]:
        """See `Reader`."""
        return _content(self._text.push(token))

    def finish(self) -> Sequence[Part]:
        """See `Reader`."""
        return _content(self._text.finish())


def _content(text: str) -> Sequence[Part]:
    return (Content(text),) if text else ()
