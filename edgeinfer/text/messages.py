"""Conversations in simpler forms, for chat templates that know neither system messages nor tools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]


def simpler_forms(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The messages as they are, then forms that more templates take; each only if it differs."""
    yield list(messages)
    folded = without_system(messages)
    if folded != messages:
        yield folded
    plain = without_system(without_tools(messages))
    if plain != folded:
        yield plain


def without_system(messages: Sequence[Message]) -> list[Message]:
    """System messages at the beginning, put before the first user message."""
    n_system = 0
    while n_system < len(messages) and messages[n_system].get("role") in ("system", "developer"):
        n_system += 1
    rest = list(messages[n_system:])
    said = [str(message.get("content") or "") for message in messages[:n_system]]
    if not said:
        return rest
    if rest and rest[0].get("role") == "user" and isinstance(rest[0].get("content"), str):
        return [{**rest[0], "content": "\n\n".join([*said, rest[0]["content"]])}, *rest[1:]]
    return [{"role": "user", "content": "\n\n".join(said)}, *rest]


def without_tools(messages: Sequence[Message]) -> list[Message]:
    """Tool calls as the assistant's text, tool results as the user's; neighbours of one role joined."""
    plain: list[Message] = []
    for message in map(_as_text, messages):
        if plain and plain[-1]["role"] == message["role"] != "system":
            joined = "\n\n".join(str(part["content"]) for part in (plain[-1], message) if part["content"])
            plain[-1] = {**plain[-1], "content": joined}
        else:
            plain.append(message)
    return plain


def _as_text(message: Message) -> Message:
    if message.get("role") == "tool":
        result = {"name": message.get("name"), "content": message.get("content")}
        return {"role": "user", "content": json.dumps({"tool_response": result}, ensure_ascii=False)}
    calls = message.get("tool_calls")
    if not calls:
        return message
    text = json.dumps({"tool_calls": [call.get("function", call) for call in calls]}, ensure_ascii=False)
    content = message.get("content")
    return {"role": message.get("role"), "content": f"{content}\n{text}" if content else text}
