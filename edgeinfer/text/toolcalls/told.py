"""Tools as plain text, for chat templates that have no place for them: as Hermes and Qwen have it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from edgeinfer.text.messages import Message, without_tools
from edgeinfer.text.toolcalls.syntax import Syntax

_TOOLS = re.compile(r"\btools\b")
_INSTRUCTIONS = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> \
XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def knows_tools(template: str) -> bool:
    """Whether this chat template tells a model of tools."""
    return _TOOLS.search(template) is not None


def told(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The messages, with the tools in the system message, and calls and results as text."""
    if not tools and not any("tool_calls" in m or m.get("role") == "tool" for m in messages):
        return list(messages)
    said = without_tools(messages)
    if not tools:
        return said
    text = _INSTRUCTIONS.format("\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    if said and said[0].get("role") == "system":
        return [{**said[0], "content": f"{said[0]['content']}\n\n{text}"}, *said[1:]]
    return [{"role": "system", "content": text}, *said]


def with_calls_as_content(messages: Sequence[Message], family: Syntax) -> list[Message]:
    """The messages, with calls of earlier answers as this family writes them."""
    if family.said is None:
        return list(messages)
    said = []
    for message in messages:
        calls = message.get("tool_calls")
        said.append({**message, "content": message["content"] + family.said(calls)} if calls else message)
    return said
