"""JSON from strangers: what Python reads and no client means is refused, and it is said where it is."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from edgeinfer.server.bodies import InvalidParameter

MOST_DEPTH = 64  # as much as anybody's tools have, and little enough for templates and schemas
_MOST_VALUES = 1 << 20  # a prompt of a million tokens
_MOST_STRINGS = 300_000  # a bias for each token of a vocabulary
_MOST_CONTAINERS = 200_000

_BRACKET = re.compile(rb"[][{}]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")  # escaped, or encoded on its own


def decoded(data: bytes) -> Any:
    """The document.

    Raises:
        InvalidParameter: it is none, or has what can mean two things or nothing: a key twice, NaN or an
            infinity; or it is nested deeper than anybody needs.
    """
    _check_shape(data)
    odd: list[str] = []
    try:
        document = json.loads(
            data.decode("utf-8-sig", "surrogatepass"),
            object_pairs_hook=_object,
            parse_constant=lambda name: _noted(odd, name, math.nan),
            parse_float=lambda text: _finite(odd, text),
        )
    except ValueError as error:
        raise InvalidParameter("", f"the body is not JSON: {error}") from None
    if odd:
        raise InvalidParameter(_find_odd(document) or "", f"{odd[0][:40]} is not a number in JSON")
    return _with_whole_characters(document) if _SURROGATE.search(data) else document


def _check_shape(data: bytes) -> None:
    """Before anything recurses, or takes 100 bytes for each byte."""
    if _n_values(data) <= MOST_DEPTH:  # even with what is said in strings
        return
    bare = _without_strings(data)
    if _n_values(bare) > _MOST_VALUES:
        raise _too_many(_MOST_VALUES, "values")
    if _n_containers(bare) > _MOST_CONTAINERS:
        raise _too_many(_MOST_CONTAINERS, "lists and objects")
    depth = 0
    for bracket in _BRACKET.finditer(bare):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MOST_DEPTH:
            raise InvalidParameter("", f"the body is nested deeper than {MOST_DEPTH} levels")


def _without_strings(data: bytes) -> bytes:
    """In time that does not depend on what the quotes are around."""
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 2 * _MOST_STRINGS:
        raise _too_many(_MOST_STRINGS, "strings")
    return b"".join(bare.split(b'"')[::2])


def _n_values(data: bytes) -> int:
    """At most: each begins a list or an object, or is behind a comma."""
    return _n_containers(data) + data.count(b",") + 1


def _n_containers(data: bytes) -> int:
    return data.count(b"[") + data.count(b"{")


def _too_many(most: int, what: str) -> InvalidParameter:
    return InvalidParameter("", f"the body has more than {most} {what}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidParameter(ascii(twice)[1:-1], "is there twice")
    return made


def _noted(odd: list[str], text: str, value: float) -> float:
    odd.append(text)
    return value


def _finite(odd: list[str], text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _noted(odd, text, value)


def _with_whole_characters(value: Any) -> Any:
    """U+FFFD for halves: some editors cut a text within an emoji."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_with_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {_with_whole_characters(name): _with_whole_characters(item) for name, item in value.items()}
    return value


def _find_odd(value: Any, path: str = "") -> str | None:
    """Where in a document a number is none, as in `messages[0].weight`."""
    if isinstance(value, float) and not math.isfinite(value):
        return path.removeprefix(".")
    if isinstance(value, list):
        items = [(f"{path}[{i}]", item) for i, item in enumerate(value)]
    elif isinstance(value, dict):
        items = [(f"{path}.{key}", item) for key, item in value.items()]
    else:
        return None
    return next((found for where, item in items if (found := _find_odd(item, where)) is not None), None)
