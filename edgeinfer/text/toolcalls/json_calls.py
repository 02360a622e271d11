"""Calls as JSON objects: {"name": ..., "arguments": {...}}, in the wrappings of many families."""

from __future__ import annotations

import json
import re

from edgeinfer.text.toolcalls.source import Source, Steps, ignored
from edgeinfer.text.toolcalls.xml_calls import function_call

_ARGUMENTS = ("arguments", "parameters")
_BESIDES = ("id", "type", "function")
_NAME_END = re.compile(r"[\[{\s]")
_BRACKET = re.compile(r"\[")


def call_in_tag(source: Source) -> Steps[bool]:
    """Behind <tool_call>: an object, or a function in XML."""
    yield from source.peek()
    if (yield from source.skip("<function=")):
        found = yield from function_call(source)
    else:
        found = yield from call_object(source)
    if found:
        yield from source.peek()
        yield from source.skip("</tool_call>")
    return found


def bare_calls(source: Source) -> Steps[bool]:
    """Objects that name a tool we have, with semicolons between them: any other JSON is content."""
    if not (yield from source.attempt(_known_call)):
        return False
    while not source.enough:
        yield from source.peek()
        yield from source.skip(";")
        if not (yield from source.attempt(_known_call)):
            break
    return True


def call_array(source: Source) -> Steps[bool]:
    """An array of objects."""
    if (yield from source.peek()) != "[":
        return False
    yield from source.char()
    if not (yield from call_object(source)):
        return False
    while (yield from source.peek()) == "," and not source.enough:
        yield from source.char()
        if not (yield from call_object(source)):
            break
    yield from source.skip("]")
    return True


def mistral_calls(source: Source) -> Steps[bool]:
    """Behind [TOOL_CALLS]: an array, or a name, [CALL_ID] and an id or not, [ARGS] or not, and arguments."""
    if (yield from source.peek()) == "[":
        return (yield from call_array(source))
    name: list[str] = []
    yield from source.upto(_NAME_END, name.append)
    if (yield from source.skip("[CALL_ID]")):
        yield from source.upto(_BRACKET, ignored)
    yield from source.skip("[ARGS]")
    if not name or (yield from source.peek()) != "{":
        return False
    source.begin_call("".join(name))
    yield from source.json(source.arguments)
    return True


def deepseek_calls(source: Source) -> Steps[bool]:
    """Behind <｜tool▁calls▁begin｜>: calls, each with marks of its own."""
    found = False
    while (yield from source.peek()) and (yield from source.skip("<｜tool▁call▁begin｜>")):
        if not (yield from _deepseek_call(source)):
            break
        found = True
        if source.enough:
            break
    yield from source.skip("<｜tool▁calls▁end｜>")
    return found


def _deepseek_call(source: Source) -> Steps[bool]:
    """Type, separator, name and JSON in a fence in R1; name, separator and JSON in V3.1."""
    first: list[str] = []
    yield from source.until(("<｜tool▁sep｜>",), first.append)
    name = first
    if (yield from source.peek()) != "{":
        name = []
        yield from source.until(("\n",), name.append)
        yield from source.skip("```json")
        if (yield from source.peek()) != "{":
            return False
    source.begin_call("".join(name))
    if (yield from source.json(source.arguments)):
        yield from source.until(("<｜tool▁call▁end｜>",), ignored)
    return True


def call_object(source: Source) -> Steps[bool]:
    """One object. It is a call as soon as its name is known; from then on nothing that is wrong undoes it."""
    return (yield from _call(source, known=False))


def _known_call(source: Source) -> Steps[bool]:
    return (yield from _call(source, known=True))


def _call(source: Source, *, known: bool) -> Steps[bool]:
    if (yield from source.peek()) != "{":
        return False
    yield from source.char()
    begun, early, told = False, "", False  # arguments that stand before the name wait for it
    while (yield from source.peek()) == '"':
        key = yield from _value(source)
        if (yield from source.peek()) != ":":
            return begun
        yield from source.char()
        if key == "name" or (key == "function" and (yield from source.peek()) == '"'):
            name = yield from _value(source)
            if begun or not isinstance(name, str) or not name or (known and name not in source.tools):
                return begun
            source.begin_call(name)
            begun = True
            source.arguments(early)
        elif key in _ARGUMENTS:
            told = True
            if begun and (yield from source.peek()) in ("{", "["):
                yield from source.json(source.arguments)
            else:
                early = yield from _arguments(source)
                if begun:
                    source.arguments(early)
        elif key in _BESIDES or begun:
            yield from source.json(ignored)
        else:
            return False
        if (yield from source.peek()) == ",":
            yield from source.char()
    if (yield from source.skip("}")) and begun and not told:
        source.arguments("{}")
    return begun


def _arguments(source: Source) -> Steps[str]:
    """Arguments as JSON text; some models write them as a string that holds JSON."""
    pieces: list[str] = []
    whole = yield from source.json(pieces.append)
    text = "".join(pieces)
    if whole and text.startswith('"'):
        inside = _parsed(text)
        return inside if isinstance(inside, str) and isinstance(_parsed(inside), dict) else text
    return "{}" if whole and text == "null" else text


def _value(source: Source) -> Steps[object]:
    pieces: list[str] = []
    yield from source.json(pieces.append)
    return _parsed("".join(pieces))


def _parsed(text: str) -> object:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
