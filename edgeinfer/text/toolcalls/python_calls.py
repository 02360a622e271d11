"""Calls as LFM2 writes them: a Python list, [name(key="value", other=1)]."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgeinfer.text.toolcalls.source import Source, Steps

_BEGIN, _END = "<|tool_call_start|>", "<|tool_call_end|>"


def python_calls(source: Source) -> Steps[bool]:
    """Behind <|tool_call_start|>: all calls at once, as Python cannot be read in parts."""
    pieces: list[str] = []
    ended = yield from source.until((_END,), pieces.append)
    calls = _calls("".join(pieces).strip()) if ended else []
    for name, arguments in calls:
        source.begin_call(name)
        source.arguments(arguments)
        if source.enough:
            break
    return bool(calls)


def written(calls: Sequence[Mapping[str, Any]]) -> str:
    """Calls, as a model has made them."""
    return f"{_BEGIN}[{', '.join(map(_written, calls))}]{_END}"


def _written(call: Mapping[str, Any]) -> str:
    function = call["function"]
    arguments = function["arguments"]
    if isinstance(arguments, Mapping):
        arguments = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return f"{function['name']}({arguments})"


def _calls(text: str) -> list[tuple[str, str]]:
    """Names and arguments as JSON; none if this is anything else than calls."""
    try:
        tree = ast.parse(text, mode="eval").body
        calls = tree.elts if isinstance(tree, ast.List) else [tree]
        return [_call(call) for call in calls]
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return []


def _call(node: ast.expr) -> tuple[str, str]:
    """Raises ValueError."""
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("no call with named arguments")
    values = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    return ast.unparse(node.func), json.dumps(values, ensure_ascii=False, allow_nan=False)
