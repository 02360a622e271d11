"""Reads llama.cpp's grammars (GBNF) into trees; `lexemes` says what llguidance is to make of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn

from edgeinfer.errors import InvalidRequest

_MOST_NODES = 50_000  # a character of a text is one
_MOST_NESTED = 100
_MOST_COPIES = 2000  # llama.cpp's
_UNICODE_END, _SURROGATES = 0x110000, (0xD800, 0xE000)
_ANY = ((0, _UNICODE_END - 1),)
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", **{c: c for c in '\\"[]-'}}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_COUNTS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_COUNT = re.compile(r"\{\s*([0-9]+)\s*(?:(,)\s*([0-9]+)?\s*)?\}")
_NAME = re.compile(r"[A-Za-z0-9_-]+")  # with _, as many write it
_TOKEN = re.compile(r"(!?)<(?:\[([0-9]{1,10})\]|([^\[>\n][^>\n]*))>")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")


@dataclass(eq=False, slots=True)
class Node:
    """A part of a grammar, in one place; only the body of a rule is part of all references to it."""

    parts: list[Node] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Chars(Node):
    """One character of these ranges, both ends included; they are sorted, not empty and do not touch."""

    ranges: tuple[tuple[int, int], ...] = _ANY


@dataclass(eq=False, slots=True)
class Token(Node):
    """One token, by its number or as its text is written, or (`negated`) any but that."""

    token: int | str = 0
    negated: bool = False


@dataclass(eq=False, slots=True)
class Sequence(Node):
    """The parts one after another."""


@dataclass(eq=False, slots=True)
class Choice(Node):
    """One of the parts."""


@dataclass(eq=False, slots=True)
class Repeat(Node):
    """The only part so many times; `most` None: without end."""

    least: int = 0
    most: int | None = None


@dataclass(eq=False, slots=True)
class Reference(Node):
    """What a rule says: its only part."""

    name: str = ""


@dataclass(frozen=True)
class Rules:
    """A grammar: the bodies of its rules, `root` among them, and all nodes that these consist of."""

    bodies: dict[str, Node]
    nodes: list[Node]


def read(text: str) -> Rules:
    """The rules of a grammar. Of two with one name the second holds, as in llama.cpp.

    Raises:
        InvalidRequest: it cannot be read, is too large, or refers to rules that it does not have.
    """
    reader = _Reader(text)
    bodies = reader.rules()
    if "root" not in bodies:
        raise InvalidRequest("the GBNF grammar has no rule named root")
    for node in reader.nodes:
        if isinstance(node, Reference):
            if node.name not in bodies:
                raise InvalidRequest(f"the GBNF grammar has no rule named {node.name}, which it refers to")
            node.parts = [bodies[node.name]]
    return Rules(bodies, reader.nodes)


class _Reader:
    """Takes a text from its beginning to its end, one thing after another."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._nested = 0
        self._copies: dict[Node, int] = {}  # of what is repeated, by the parts that have such
        self.nodes: list[Node] = []

    def rules(self) -> dict[str, Node]:
        bodies = {}
        self._skip(_SPACE_AND_LINES)
        while self._at < len(self._text):
            name = self._match(_NAME, "the name of a rule")[0]
            self._skip(_SPACE)
            self._take("::=")
            self._skip(_SPACE_AND_LINES)
            bodies[name] = self._choice()
            if self._next() not in ("\r", "\n", ""):
                self._refuse("a part of a rule, or the end of its line")
            self._skip(_SPACE_AND_LINES)
        return bodies

    def _choice(self) -> Node:
        ways = [self._sequence()]
        while self._next() == "|":
            self._at += 1
            self._skip(_SPACE_AND_LINES)
            ways.append(self._sequence())
        return self._add(Choice(ways)) if len(ways) > 1 else ways[0]

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while (part := self._one()) is not None:
            self._skip_between()
            while self._next() in ("*", "+", "?", "{"):
                part = self._repeated(part)
                self._skip_between()
            parts.append(part)
        return parts[0] if len(parts) == 1 else self._add(Sequence(parts))

    def _one(self) -> Node | None:
        """What begins here; None: nothing that belongs to a sequence."""
        mark = self._next()
        if mark == '"':
            return self._literal()
        if mark == "[":
            return self._class()
        if mark == ".":
            self._at += 1
            return self._add(Chars())
        if mark == "(":
            return self._group()
        if mark in ("<", "!"):
            found = self._match(_TOKEN, "a token: <[number]> or <its text>")
            negated = found[1] == "!"
            return self._add(
                Token(token=int(found[2]) if found[2] else found[0].removeprefix("!"), negated=negated)
            )
        name = _NAME.match(self._text, self._at)
        if name is None:
            return None
        self._at = name.end()
        return self._add(Reference(name=name[0]))

    def _group(self) -> Node:
        self._nested += 1
        if self._nested > _MOST_NESTED:
            raise InvalidRequest(f"the GBNF grammar is nested too deeply: more than {_MOST_NESTED} levels")
        self._at += 1
        self._skip(_SPACE_AND_LINES)
        inner = self._choice()
        self._take(")")
        self._nested -= 1
        return inner

    def _literal(self) -> Node:
        self._at += 1
        parts = []
        while self._next() != '"':
            code = self._character()
            parts.append(self._chars([(code, code)]))
        self._at += 1
        return parts[0] if len(parts) == 1 else self._add(Sequence(parts))

    def _class(self) -> Node:
        self._at += 1
        negated = self._next() == "^"
        self._at += negated
        ranges = []
        while self._next() != "]":
            low = high = self._character()
            if self._next() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                high = self._character()
            ranges.append((low, high))
        self._at += 1
        return self._chars(_others(ranges) if negated else ranges)

    def _chars(self, ranges: list[tuple[int, int]]) -> Node:
        allowed = _others(_others([*ranges]))
        if not allowed:
            self._refuse("a class of at least one character")
        return self._add(Chars(ranges=tuple(allowed)))

    def _character(self) -> int:
        if self._next() != "\\":
            if not self._next():
                self._refuse("the end of a text or class")
            self._at += 1
            return ord(self._text[self._at - 1])
        kind = self._text[self._at + 1 : self._at + 2]
        self._at += 2
        if kind in _HEX_DIGITS:
            n = _HEX_DIGITS[kind]
            return int(self._match(re.compile(f"[0-9a-fA-F]{{{n}}}"), f"{n} hexadecimal digits")[0], 16)
        if kind not in _ESCAPES:
            self._refuse("one of the escapes " + " ".join(f"\\{c}" for c in (*_ESCAPES, *_HEX_DIGITS)))
        return ord(_ESCAPES[kind])

    def _repeated(self, part: Node) -> Node:
        mark = self._next()
        if mark == "{":
            found = self._match(_COUNT, "{m}, {m,} or {m,n}")
            least = _number(found[1])
            most = _number(found[3]) if found[3] else None if found[2] else least
        else:
            self._at += 1
            least, most = _COUNTS[mark]
        if most is not None and most < least:
            self._refuse("a repetition that ends after it begins")
        node = self._add(Repeat([part], least=least, most=most) if most != 0 else Sequence())
        if self._copies[node] > _MOST_COPIES:
            raise InvalidRequest(f"the GBNF grammar repeats a part more than {_MOST_COPIES} times")
        return node

    def _add(self, node: Node) -> Node:
        self.nodes.append(node)
        if len(self.nodes) > _MOST_NODES:
            raise InvalidRequest(f"the GBNF grammar is too large: more than {_MOST_NODES} parts")
        copies = sum(self._copies[part] for part in node.parts)
        if isinstance(node, Repeat):
            copies = max(copies, 1) * max(node.least, node.most or 1)
        self._copies[node] = copies
        return node

    def _next(self) -> str:
        """The character here, "" at the end."""
        return self._text[self._at : self._at + 1]

    def _skip(self, space: re.Pattern[str]) -> None:
        found = space.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _skip_between(self) -> None:
        self._skip(_SPACE_AND_LINES if self._nested else _SPACE)

    def _take(self, text: str) -> None:
        if not self._text.startswith(text, self._at):
            self._refuse(text)
        self._at += len(text)

    def _match(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            self._refuse(what)
        self._at = found.end()
        return found

    def _refuse(self, expected: str) -> NoReturn:
        line = self._text.count("\n", 0, self._at) + 1
        raise InvalidRequest(f"the GBNF grammar cannot be read: line {line} needs {expected}")


def _number(digits: str) -> int:
    """A count, or one that is too large just as well: Python refuses numbers of thousands of digits."""
    return int(digits[-5:]) if len(digits) < 6 else 10**5


def _others(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The characters that are in none of these, sorted; surrogates are no characters."""
    others, begin = [], 0
    surrogates = (_SURROGATES[0], _SURROGATES[1] - 1)
    for low, high in sorted([*ranges, surrogates, (_UNICODE_END, _UNICODE_END)]):
        if begin < min(low, _UNICODE_END):
            others.append((begin, min(low, _UNICODE_END) - 1))
        begin = max(begin, high + 1)
    return others
