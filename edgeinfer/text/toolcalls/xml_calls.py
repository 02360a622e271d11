"""Calls as Qwen3-Coder and Qwen3.5 write them: <function=name> with a <parameter=key> for each argument."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgeinfer.text.toolcalls.source import Source, Steps, ignored
from edgeinfer.text.toolcalls.values import as_json, as_json_text

_NAME_END = re.compile(r"[<>\n]")


def function_call(source: Source) -> Steps[bool]:
    """Behind <function=; its arguments become JSON as the schema of the tool tells their types."""
    name = yield from _name(source)
    if not name:
        return False
    schema = source.tools.get(name, {})
    source.begin_call(name)
    source.arguments("{")
    separator = ""
    while mark := (yield from source.until(("<parameter=", "</function>", "</tool_call>"), ignored)):
        if mark != "<parameter=":
            source.arguments("}")
            return True
        key = yield from _name(source)
        if not key:
            continue
        source.arguments(f"{separator}{as_json_text(key)}: ")
        separator = ", "
        yield from _parameter(source, _types(schema.get("properties", {}).get(key), schema))
    return True


def _name(source: Source) -> Steps[str]:
    pieces: list[str] = []
    if (yield from source.upto(_NAME_END, pieces.append)) != ">":
        return ""
    yield from source.char()
    return "".join(pieces).strip()


def _parameter(source: Source, types: frozenset[str]) -> Steps[None]:
    """A line feed on either side is not part of the value."""
    yield from source.skip("\n")
    ends = ("\n</parameter>", "</parameter>")
    if types == {"string"}:
        source.arguments('"')
        if (yield from source.until(ends, lambda text: source.arguments(as_json_text(text)[1:-1]))):
            source.arguments('"')
        return
    pieces: list[str] = []
    if (yield from source.until(ends, pieces.append)):
        source.arguments(_converted("".join(pieces), types))


def _converted(text: str, types: frozenset[str]) -> str:
    """The JSON of a value; where a string is allowed too, it is one."""
    if "string" in types and not ("null" in types and as_json(text) == "null"):
        return as_json_text(text)
    return as_json(text)


def _types(schema: object, root: Mapping[str, Any], depth: int = 0) -> frozenset[str]:
    """The JSON types that a schema allows; none: it does not tell."""
    if not isinstance(schema, Mapping) or depth > 8:
        return frozenset()
    kind = schema.get("type")
    if isinstance(kind, str):
        return frozenset([kind])
    if isinstance(kind, list):
        return frozenset(k for k in kind if isinstance(k, str))
    values = schema.get("enum")
    if isinstance(values, list) and values and all(isinstance(value, str) for value in values):
        return frozenset(["string"])
    reference = schema.get("$ref")
    if isinstance(reference, str):
        place, _, name = reference.rpartition("/")
        definitions = root.get(place.removeprefix("#/"))
        known = definitions.get(name) if isinstance(definitions, Mapping) else None
        return _types(known, root, depth + 1)
    options = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(options, list):
        return frozenset[str]().union(*(_types(option, root, depth + 1) for option in options))
    return frozenset()
