"""Calls as Gemma 4 writes them: call:name{key:<|"|>text<|"|>,other:[1,true]}."""

from __future__ import annotations

import re

from edgeinfer.text.toolcalls.source import Source, Steps
from edgeinfer.text.toolcalls.values import as_json, as_json_text

_NAME_END = re.compile(r"[{<\s]")
_KEY_END = re.compile(r"[:},]")
_BARE_END = re.compile(r"[,}\]]")
_QUOTE = '<|"|>'
_DEEPEST = 64


def gemma_call(source: Source) -> Steps[bool]:
    """Behind <|tool_call>."""
    name: list[str] = []
    if not (yield from source.skip("call:")) or (yield from source.upto(_NAME_END, name.append)) != "{":
        return False
    source.begin_call("".join(name))
    yield from _object(source, 0)
    yield from source.skip("<tool_call|>")
    return True


def _object(source: Source, depth: int) -> Steps[bool]:
    """False: it does not end."""
    yield from source.char(source.arguments)
    separator = ""
    while (following := (yield from source.peek())) not in ("}", ""):
        if following == ",":
            yield from source.char()
            continue
        key: list[str] = []
        if (yield from source.skip(_QUOTE)):
            yield from source.until((_QUOTE,), key.append)
        if (yield from source.upto(_KEY_END, key.append)) != ":":
            return False
        yield from source.char()
        source.arguments(f"{separator}{as_json_text(''.join(key))}: ")
        separator = ", "
        if not (yield from _value(source, depth + 1)):
            return False
    return bool((yield from source.char(source.arguments)))


def _array(source: Source, depth: int) -> Steps[bool]:
    yield from source.char(source.arguments)
    separator = ""
    while (following := (yield from source.peek())) not in ("]", ""):
        if following == ",":
            yield from source.char()
            continue
        source.arguments(separator)
        separator = ", "
        if not (yield from _value(source, depth + 1)):
            return False
    return bool((yield from source.char(source.arguments)))


def _value(source: Source, depth: int) -> Steps[bool]:
    first = yield from source.peek()
    if depth > _DEEPEST:
        return False
    if first == "{":
        return (yield from _object(source, depth))
    if first == "[":
        return (yield from _array(source, depth))
    if (yield from source.skip(_QUOTE)):
        source.arguments('"')
        ended = yield from source.until((_QUOTE,), lambda text: source.arguments(as_json_text(text)[1:-1]))
        source.arguments('"' if ended else "")
        return bool(ended)
    bare: list[str] = []
    if not (yield from source.upto(_BARE_END, bare.append)):
        return False
    source.arguments(as_json("".join(bare)))
    return True
