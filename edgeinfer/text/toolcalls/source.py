"""The text of an answer as it comes, and the parts that parsers find in it.

A parser is a generator over a `Source`: it yields when it needs more text. So it is written as if the whole
text were there, takes every prefix of it, and cannot depend on how the text was cut into tokens.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from edgeinfer.text.parts import CallArguments, CallBegun, Content, Part, Reasoning

T = TypeVar("T")
Steps = Generator[None, None, T]  # a parser: waits with `yield`, gives T at the end
Take = Callable[[str], object]  # is given text piece by piece
Parser = Callable[["Source"], Steps[bool]]  # of a call, behind its mark; False: it is none

_BRACKET_OR_QUOTE = re.compile(r'["{}\[\]]')
_QUOTE_OR_ESCAPE = re.compile(r'["\\]')
_SCALAR_END = re.compile(r"[\s,\]}]")
_SOLID = re.compile(r"\S")


class Source:
    """Text in, parts out; between the two a parser.

    Attributes:
        tools: the JSON schema of the parameters of each tool that may be called, by its name.
    """

    def __init__(
        self,
        tools: Mapping[str, Mapping[str, Any]],
        *,
        most_calls: int | None = None,
        salt: bytes = b"",
    ) -> None:
        """`salt`: what makes the ids of calls differ from those of other answers."""
        self.tools = tools
        self._most_calls = most_calls
        self._salt = salt
        self._text, self._at = "", 0
        self._ended = False
        self._returns = False  # the parser may have to go back
        self._parts: list[Part] = []
        self._content, self._reasoning = _Trimmed(), _Trimmed(starts=False)
        self._n_calls = 0

    # The reader's side.

    def feed(self, text: str) -> None:
        """More of the answer."""
        if not self._returns:
            self._text, self._at = self._text[self._at :], 0
        self._text += text

    def end(self) -> None:
        """There is no more."""
        self._ended = True

    def found(self, *, rest: bool = False) -> Sequence[Part]:
        """The parts that were found since the last time; `rest`: with white space at the end."""
        if rest and not self._n_calls and (space := self._content.rest()):
            self._parts.append(Content(space))
        parts, self._parts = self._parts, []
        return parts

    # The parser's side: parts.

    def content(self, text: str) -> None:
        """More for the reader."""
        if text := self._content.push(text):
            self._reasoning.restart()
            self._parts.append(Content(text))

    def reasoning(self, text: str) -> None:
        """More of the thoughts."""
        if text := self._reasoning.push(text):
            self._content.restart()
            self._parts.append(Reasoning(text))

    def begin_call(self, name: str) -> None:
        """A call; `arguments` follow."""
        self._returns = False
        self._content.restart()
        self._reasoning.restart()
        digest = hashlib.blake2b(self._salt + self._n_calls.to_bytes(4), digest_size=8)
        # Mistral's templates take ids of nine letters and digits only
        self._parts.append(CallBegun(self._n_calls, digest.hexdigest()[:9], name))
        self._n_calls += 1

    def arguments(self, text: str) -> None:
        """More of the arguments of the last call."""
        if text:
            self._parts.append(CallArguments(self._n_calls - 1, text))

    @property
    def enough(self) -> bool:
        """No more calls are wanted."""
        return self._most_calls is not None and self._n_calls >= self._most_calls

    # The parser's side: text. "Taken" text is given to `take` and is behind the parser.

    def more(self) -> Steps[bool]:
        """Waits for more text. False: there is none."""
        if self._ended:
            return False
        yield
        return True

    def attempt(self, parser: Parser) -> Steps[bool]:
        """What this parser finds. If it finds nothing the text is as before."""
        self._text, self._at = self._text[self._at :], 0
        self._returns = True
        found = yield from parser(self)
        self._returns = False
        if not found:
            self._at = 0
        return found

    def char(self, take: Take | None = None) -> Steps[str]:
        """Takes one character; "" at the end."""
        while self._at == len(self._text):
            if not (yield from self.more()):
                return ""
        self._at += 1
        character = self._text[self._at - 1]
        if take is not None:
            take(character)
        return character

    def peek(self) -> Steps[str]:
        """The next character that is no white space; takes what stands before it."""
        return (yield from self.upto(_SOLID, ignored))

    def skip(self, *marks: str) -> Steps[str]:
        """Takes that one of these texts which comes next; "": none does."""
        while True:
            for mark in marks:
                if self._text.startswith(mark, self._at):
                    self._at += len(mark)
                    return mark
            rest = self._text[self._at :]
            if not any(mark.startswith(rest) for mark in marks) or not (yield from self.more()):
                return ""

    def unread(self, mark: str) -> None:
        """What was just taken comes again."""
        self._at -= len(mark)

    def until(self, marks: tuple[str, ...], take: Take) -> Steps[str]:
        """Takes all text before the first of these, and that one, which it returns; "": none came.

        Holds back only what may still become one of them.
        """
        pattern = _any_of(marks)
        while True:
            mark = pattern.search(self._text, self._at)
            end = mark.start() if mark else _first_begun(self._text, self._at, marks)
            self._take(end, take)
            if mark:
                self._at = mark.end()
                return mark[0]
            if not (yield from self.more()):
                self._take(len(self._text), take)
                return ""

    def upto(self, pattern: re.Pattern[str], take: Take) -> Steps[str]:
        """Takes all text before the first of some characters, which it returns and leaves; "": none came."""
        while True:
            found = pattern.search(self._text, self._at)
            self._take(found.start() if found else len(self._text), take)
            if found:
                return found[0]
            if not (yield from self.more()):
                return ""

    def json(self, take: Take) -> Steps[bool]:
        """Takes one JSON value, whose inside is not checked. False: it does not end."""
        first = yield from self.peek()
        if first == '"':
            return (yield from self._json_string(take))
        if first not in ("{", "["):
            return bool((yield from self.upto(_SCALAR_END, take))) or self._ended
        depth = 0
        while character := (yield from self.upto(_BRACKET_OR_QUOTE, take)):
            if character == '"':
                yield from self._json_string(take)
                continue
            yield from self.char(take)
            depth += 1 if character in "{[" else -1
            if depth == 0:
                return True
        return False

    def _json_string(self, take: Take) -> Steps[bool]:
        yield from self.char(take)
        while character := (yield from self.upto(_QUOTE_OR_ESCAPE, take)):
            yield from self.char(take)
            if character == '"':
                return True
            yield from self.char(take)
        return False

    def _take(self, end: int, take: Take) -> None:
        if end > self._at:
            take(self._text[self._at : end])
            self._at = end


class _Trimmed:
    """Text without the white space around it: that behind it is held until more text comes."""

    def __init__(self, *, starts: bool = True) -> None:
        """`starts`: the answer starts with it, and keeps the white space in front."""
        self._space = ""
        self._strips = not starts

    def push(self, text: str) -> str:
        """What is certain now."""
        text = self._space + text
        if self._strips:
            text = text.lstrip()
        solid = text.rstrip()
        self._space = text[len(solid) :]
        self._strips = self._strips and not solid
        return solid

    def restart(self) -> None:
        """Something else comes."""
        self._space, self._strips = "", True

    def rest(self) -> str:
        """What is held."""
        space, self._space = self._space, ""
        return space


def ignored(text: str) -> None:
    """Takes text that is no part of the answer."""


@lru_cache
def _any_of(marks: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, marks)) or r"(?!)")


def _first_begun(text: str, at: int, marks: tuple[str, ...]) -> int:
    """Where the first of the marks begins that is not complete at the end of the text."""
    longest = max(map(len, marks), default=0)
    for start in range(max(at, len(text) - longest + 1), len(text)):
        tail = text[start:]
        if any(mark.startswith(tail) for mark in marks):
            return start
    return len(text)
