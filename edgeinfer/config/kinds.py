"""Which values a setting may have. A kind reads them from text and judges those of a TOML file alike."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Protocol

from edgeinfer.durations import seconds_of

_NUMBERS = (int, float)


class Kind(Protocol):
    """A set of values."""

    @property
    def told(self) -> str:
        """Which they are, behind "must be"."""

    @property
    def metavar(self) -> str:
        """A placeholder for one of them."""

    def parse(self, text: str) -> object:
        """The value that a text stands for; the text itself if it stands for none."""

    def has(self, value: object) -> bool:
        """Whether this is one of them."""


@dataclass(frozen=True)
class Whole:
    """Integers."""

    low: int
    high: int = 2**31 - 1
    metavar: str = "N"

    @property
    def told(self) -> str:
        return f"an integer from {self.low} to {self.high}"

    def parse(self, text: str) -> object:
        return _number(text, int)

    def has(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True)
class Number:
    """Integers and fractions."""

    low: float
    high: float
    metavar: str = "X"

    @property
    def told(self) -> str:
        return f"a number from {self.low} to {self.high}"

    def parse(self, text: str) -> object:
        return _number(text, *_NUMBERS)

    def has(self, value: object) -> bool:
        return isinstance(value, _NUMBERS) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True)
class Switch:
    """On or off."""

    told: str = "true or false"
    metavar: str = "true|false"

    def parse(self, text: str) -> object:
        return {"1": True, "true": True, "0": False, "false": False}.get(text, text)

    def has(self, value: object) -> bool:
        return isinstance(value, bool)


@dataclass(frozen=True)
class OneOf:
    """A few words."""

    words: tuple[str, ...]
    metavar: str

    @property
    def told(self) -> str:
        return f"{', '.join(self.words[:-1])} or {self.words[-1]}"

    def parse(self, text: str) -> object:
        return text

    def has(self, value: object) -> bool:
        return value in self.words


@dataclass(frozen=True)
class Text:
    """One line."""

    told: str = "a text"
    metavar: str = "TEXT"

    def parse(self, text: str) -> object:
        return text

    def has(self, value: object) -> bool:
        return isinstance(value, str) and value.strip() != "" and value.isprintable()


@dataclass(frozen=True)
class ModelName(Text):
    """What every command takes; a file, as text, is one of this folder and meant from everywhere."""

    told: str = "the name of a model, or its file"
    metavar: str = "MODEL"

    def parse(self, text: str) -> object:
        path = os.path.abspath(os.path.expanduser(text))
        return path if os.path.isfile(path) else text


@dataclass(frozen=True)
class Texts:
    """Several texts; on a command line with commas between them."""

    pattern: str  # each matches it as a whole
    told: str
    metavar: str

    def parse(self, text: str) -> object:
        return tuple(part.strip() for part in text.split(",") if part.strip())

    def has(self, value: object) -> bool:
        return isinstance(value, list | tuple) and all(
            isinstance(text, str) and re.fullmatch(self.pattern, text) for text in value
        )


@dataclass(frozen=True)
class File:
    """Where a file is, from wherever it is asked; a relative path as text is one of this folder."""

    told: str = "an absolute path, or one that begins with ~"
    metavar: str = "FILE"

    def parse(self, text: str) -> object:
        return os.path.abspath(os.path.expanduser(text)) if text else text

    def has(self, value: object) -> bool:
        return isinstance(value, str) and "\0" not in value and os.path.isabs(os.path.expanduser(value))


@dataclass(frozen=True)
class Duration:
    """Seconds, or a text with units; negative: for ever."""

    told: str = "a duration: seconds, or as 5m, 1h30m; -1: for ever"
    metavar: str = "TIME"

    def parse(self, text: str) -> object:
        return text

    def has(self, value: object) -> bool:
        try:
            seconds_of(value)
        except ValueError:
            return False
        return True


def _number(text: str, *kinds: type[int] | type[float]) -> object:
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            pass
    return text
