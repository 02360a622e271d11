"""Grammars of llama.cpp as Lark for llguidance, with the same language.

llguidance reads text as lexemes, and each takes as much as it can: `[a-z]+ "z"` has no end if its first part
is one. Lexemes of one character are always right, but words are then parsed character by character. So
whatever is regular is one lexeme, unless a text could as well go on behind it as within it: where two ways
to read one text part, all have to agree whether a lexeme ends here. All texts are followed at once, as sets
of the characters of the grammar that they may have come to. A rule is taken to go on wherever it is referred
to, and a character is taken for its first byte, by which llguidance decides: both only make lexemes shorter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

from edgeinfer.errors import InvalidRequest
from edgeinfer.text.gbnf import Chars, Choice, Node, Reference, Repeat, Rules, Sequence, Token, read

_LONGEST = 8 << 10  # characters of a lexeme's regex; what is longer is read in parts
_MOST_WRITTEN = 4 << 20  # characters of all regexes that are tried
_MOST_EFFORT = 500_000  # half a second
_ALL_BYTES = (1 << 256) - 1
_TOKEN_BYTE = 1 << 0xFF  # in no text
_TOKEN = re.compile(r"<\[(!?)(?:=((?:[0-9a-f]{2})+)|([0-9]+))\]>")  # [!: any but that; =: its text in hex

_Users = dict[Node, list[tuple[Node, int]]]  # what a node is part of, and which part


def lark_of_gbnf(text: str) -> str:
    """A Lark grammar whose `start` is the `root` of this one; tokens have no numbers yet, see `with_numbers`.

    Raises:
        InvalidRequest: it is wrong or too large.
    """
    rules = read(text)
    users: _Users = {node: [] for node in rules.nodes}
    for node in rules.nodes:
        for i, part in enumerate(node.parts):
            users[part].append((node, i))
    regexes = _regexes(rules, users)
    _cut(regexes, users, _Paths(rules, users).joints())
    return _written(rules, regexes)


def with_numbers(lark: str, number: Callable[[str], int | None], never: Collection[int]) -> str:
    """A grammar of `lark_of_gbnf` for a model.

    Args:
        number: tells that of a token by its text.
        never: tokens that are not meant by "any but that one".

    Raises:
        InvalidRequest: the model does not have a token that is named.
    """

    def numbered(found: re.Match[str]) -> str:
        token = int(found[3]) if found[3] else number(bytes.fromhex(found[2]).decode())
        if token is None:
            name = bytes.fromhex(found[2]).decode()
            raise InvalidRequest(f"the GBNF grammar asks for the token {name}, which the model does not have")
        if not found[1]:
            return f"<[{token}]>"
        return f"<[^{','.join(map(str, sorted({token, *never})))}]>"

    return _TOKEN.sub(numbered, lark)


def _enough(rules: Rules, users: _Users, needed: Callable[[Node], int]) -> list[Node]:
    """The nodes of which so many parts are in this list: parts before what they are part of."""
    missing = {node: needed(node) for node in rules.nodes}
    found = [node for node in rules.nodes if missing[node] == 0]
    for node in found:  # and those that are added here
        for user, _ in users[node]:
            missing[user] -= 1
            if missing[user] == 0:
                found.append(user)
    return found


def _needed_to_be_empty(node: Node) -> int:
    if isinstance(node, Sequence):
        return len(node.parts)
    return 0 if isinstance(node, Repeat) and node.least == 0 else 1


def _regexes(rules: Rules, users: _Users) -> dict[Node, str]:
    """What is regular: all but tokens and rules that refer to themselves."""
    regexes: dict[Node, str] = {}
    room = _MOST_WRITTEN
    for node in _enough(rules, users, lambda node: 1 if isinstance(node, Token) else len(node.parts)):
        if all(part in regexes for part in node.parts):
            regex = _regex(node, [regexes[part] for part in node.parts])
            room -= len(regex)
            if len(regex) <= _LONGEST and room > 0:
                regexes[node] = regex
    return regexes


def _regex(node: Node, parts: list[str]) -> str:
    if isinstance(node, Chars):
        return _class(node.ranges)
    if isinstance(node, Choice):
        return f"({'|'.join(parts)})"  # in parentheses, as one thing
    if isinstance(node, Repeat):
        return (parts[0] if isinstance(node.parts[0], Chars | Choice) else f"({parts[0]})") + _mark(node)
    return "".join(parts)


def _mark(node: Repeat) -> str:
    plain = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    most = "" if node.most is None else node.most
    return plain.get((node.least, node.most), f"{{{node.least},{most}}}")


def _token(node: Token) -> str:
    token = node.token if isinstance(node.token, int) else "=" + node.token.encode().hex()
    return f"<[{'!' if node.negated else ''}{token}]>"


def _class(ranges: tuple[tuple[int, int], ...]) -> str:
    texts = [_escaped(low) + (f"-{_escaped(high)}" if low < high else "") for low, high in ranges]
    return texts[0] if ranges[0] == (ranges[0][0],) * 2 and len(ranges) == 1 else f"[{''.join(texts)}]"


def _escaped(code: int) -> str:
    if code < 128:
        return chr(code) if chr(code).isalnum() else f"\\x{code:02x}"
    return chr(code) if chr(code).isprintable() else f"\\x{{{code:x}}}"


class _Paths:
    """All ways to read a text."""

    def __init__(self, rules: Rules, users: _Users) -> None:
        self._root, self._users = rules.bodies["root"], users
        self._nullable = set(_enough(rules, users, _needed_to_be_empty))
        self._firsts: dict[Node, list[Node]] = {}
        self._exits: dict[Node, dict[tuple[Node, Node], None]] = {}
        self._effort = 0

    def joints(self) -> set[frozenset[Node]]:
        """The nodes that join a character to what was before, for each place in a text and each next byte.

        Such a node is a sequence, at the end of one of its parts, or a repetition, at that of its part.
        """
        found: set[frozenset[Node]] = set()
        seen: set[frozenset[Node]] = set()
        todo = [{(first, self._root) for first in self._first(self._root)}]
        while todo:
            for ways in self._by_byte(todo.pop()):
                here = frozenset(node for node, _ in ways)
                if here not in seen:
                    seen.add(here)
                    todo.append(self._ways_on(here))
                    found.update(frozenset(joint for _, joint in on) for on in self._by_byte(todo[-1]))
        return found

    def _ways_on(self, here: Collection[Node]) -> set[tuple[Node, Node]]:
        """The characters and tokens that may follow these, and what joins them."""
        ways: set[tuple[Node, Node]] = set()
        for node in here:
            for joint, following in self._exit(node):
                firsts = self._first(following)
                self._spend(len(firsts))
                ways.update((first, joint) for first in firsts)
        return ways

    def _by_byte(self, ways: set[tuple[Node, Node]]) -> Iterator[list[tuple[Node, Node]]]:
        """Those that the same byte leads into, for each byte."""
        alike: dict[int, list[tuple[Node, Node]]] = {}
        for way in ways:
            alike.setdefault(_first_bytes(way[0]), []).append(way)
        blocks = [_ALL_BYTES]
        for some in alike:
            blocks = [part for block in blocks for part in (block & some, block & ~some) if part]
        for block in blocks:
            together = [way for some, those in alike.items() if some & block for way in those]
            self._spend(len(alike) + len(together))
            if together:
                yield together

    def _first(self, node: Node) -> list[Node]:
        """The characters and tokens that it may begin with."""
        if node not in self._firsts:
            found: list[Node] = []
            seen, todo = {node}, [node]
            while todo:
                one = todo.pop()
                self._spend(1)
                if isinstance(one, Chars | Token):
                    found.append(one)
                for part in one.parts:
                    if part not in seen:
                        seen.add(part)
                        todo.append(part)
                    if isinstance(one, Sequence) and part not in self._nullable:
                        break
            self._firsts[node] = found
        return self._firsts[node]

    def _exit(self, node: Node) -> Collection[tuple[Node, Node]]:
        """What may follow behind it: the node that joins it, and what begins there."""
        if node not in self._exits:
            found: dict[tuple[Node, Node], None] = {}
            seen, todo = {node}, [node]
            while todo:
                for user, i in self._users[todo.pop()]:
                    self._spend(1)
                    if isinstance(user, Repeat) and user.most != 1:
                        found[user, user.parts[0]] = None
                    for following in user.parts[i + 1 :] if isinstance(user, Sequence) else []:
                        self._spend(1)
                        found[user, following] = None
                        if following not in self._nullable:
                            break
                    else:
                        if user not in seen:
                            seen.add(user)
                            todo.append(user)
            self._exits[node] = found
        return self._exits[node]

    def _spend(self, effort: int) -> None:
        self._effort += effort
        if self._effort > _MOST_EFFORT:
            raise InvalidRequest("the GBNF grammar is too complex")


def _first_bytes(node: Node) -> int:
    """Of the UTF-8 of its characters, a bit for each."""
    if not isinstance(node, Chars):
        return _TOKEN_BYTE
    found = 0
    for low, high in node.ranges:
        first, last = chr(low).encode()[0], chr(high).encode()[0]
        found |= (1 << last + 1) - (1 << first)
    return found


def _cut(regexes: dict[Node, str], users: _Users, joints: Collection[frozenset[Node]]) -> None:
    """Leave what can be lexemes: of nodes that join the same text, all or none are within one."""
    by_node: dict[Node, list[frozenset[Node]]] = {}
    for group in joints:
        for node in group:
            by_node.setdefault(node, []).append(group)
    todo = [node for node in by_node if node not in regexes]
    for joint in todo:  # and those that are added here
        for group in by_node.pop(joint, []):
            torn = [node for node in group if node in regexes]
            for node in torn:  # with whatever it is part of
                if regexes.pop(node, None) is not None:
                    todo.append(node)
                    torn.extend(user for user, _ in users[node])


def _written(rules: Rules, regexes: dict[Node, str]) -> str:
    names = {
        body: "start" if name == "root" else f"r{i}" for i, (name, body) in enumerate(rules.bodies.items())
    }
    needed = [rules.bodies["root"]]

    def expression(node: Node) -> str:
        if node in regexes:
            return f"/{regexes[node]}/" if regexes[node] else '""'
        if isinstance(node, Token):
            return _token(node)
        if isinstance(node, Reference):
            if node.parts[0] not in needed:
                needed.append(node.parts[0])
            return names[node.parts[0]]
        parts = [expression(part) for part in node.parts]
        if isinstance(node, Repeat):
            return f"({parts[0]}){_mark(node)}"
        return f"({' | '.join(parts)})" if isinstance(node, Choice) else " ".join(parts)

    return "\n".join(f"{names[body]}: {expression(body)}" for body in needed)
