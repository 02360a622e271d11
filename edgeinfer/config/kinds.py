"""Which values a setting may have. A kind reads them from text and judges those of a TOML file alike.

Plain classes: every command makes them, and a dataclass takes half a millisecond to define.
"""

from __future__ import annotations

import os
import re

from edgeinfer.durations import seconds_of


class Kind:
    """A set of values.

    Attributes:
        told: which they are, behind "must be".
        metavar: a placeholder for one of them.
    """

    def __init__(self, told: str, metavar: str) -> None:
        self.told, self.metavar = told, metavar

    def parse(self, text: str) -> object:
        """The value that a text stands for; the text itself if it stands for none."""
        return text

    def has(self, value: object) -> bool:
        """Whether this is one of them."""
        raise NotImplementedError


class Whole(Kind):
    """Integers."""

    def __init__(self, low: int, high: int = 2**31 - 1, metavar: str = "N") -> None:
        super().__init__(f"an integer from {low} to {high}", metavar)
        self._low, self._high = low, high

    def parse(self, text: str) -> object:
        return _number(text, int)

    def has(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self._low <= value <= self._high


class Number(Kind):
    """Integers and fractions."""

    def __init__(self, low: float, high: float, metavar: str = "X") -> None:
        super().__init__(f"a number from {low} to {high}", metavar)
        self._low, self._high = low, high

    def parse(self, text: str) -> object:
        return _number(text, int, float)

    def has(self, value: object) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self._low <= value <= self._high  # type: ignore[operator]


class Switch(Kind):
    """On or off."""

    def __init__(self) -> None:
        super().__init__("true or false", "true|false")

    def parse(self, text: str) -> object:
        return {"1": True, "true": True, "0": False, "false": False}.get(text, text)

    def has(self, value: object) -> bool:
        return isinstance(value, bool)


class OneOf(Kind):
    """A few words."""

    def __init__(self, words: tuple[str, ...], metavar: str) -> None:
        super().__init__(f"{', '.join(words[:-1])} or {words[-1]}", metavar)
        self.words = words

    def has(self, value: object) -> bool:
        return value in self.words


class Text(Kind):
    """One line."""

    def __init__(self, told: str = "a text of one line", metavar: str = "TEXT") -> None:
        super().__init__(told, metavar)

    def has(self, value: object) -> bool:
        return isinstance(value, str) and value.strip() != "" and value.isprintable()


class ModelName(Text):
    """What every command takes; a file, as text, is one of this folder and meant from everywhere."""

    def __init__(self) -> None:
        super().__init__("the name of a model, or its file", "MODEL")

    def parse(self, text: str) -> object:
        path = os.path.abspath(os.path.expanduser(text))
        return path if os.path.isfile(path) else text


class Texts(Kind):
    """Several texts that match a pattern; on a command line with commas between them."""

    def __init__(self, pattern: str, told: str, metavar: str) -> None:
        super().__init__(told, metavar)
        self._pattern = pattern

    def parse(self, text: str) -> object:
        return tuple(part.strip() for part in text.split(",") if part.strip())

    def has(self, value: object) -> bool:
        return isinstance(value, list | tuple) and all(
            isinstance(text, str) and re.fullmatch(self._pattern, text) for text in value
        )


class File(Kind):
    """Where a file is, from wherever it is asked; a relative path as text is one of this folder."""

    def __init__(self) -> None:
        super().__init__("an absolute path, or one that begins with ~", "FILE")

    def parse(self, text: str) -> object:
        return os.path.abspath(os.path.expanduser(text)) if text else text

    def has(self, value: object) -> bool:
        return isinstance(value, str) and "\0" not in value and os.path.isabs(os.path.expanduser(value))


class Duration(Kind):
    """Seconds, or a text with units; negative: for ever."""

    def __init__(self) -> None:
        super().__init__("a duration: seconds, or as 5m, 1h30m; -1: for ever", "TIME")

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
