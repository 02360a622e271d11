"""Conversations in one form, and in simpler ones for chat templates that refuse it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from edgeinfer.errors import InvalidRequest

Message = Mapping[str, Any]


_OTHER_ROLES = {"developer": "system", "function": "tool"}  # names that templates do not know
_REASONING = ("reasoning_content", "reasoning", "thinking")  # what clients call it
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")


def uniform(messages: Sequence[Message]) -> list[Message]:
    """The messages in one form, whatever dialect they came in.

    Content is text, roles are those of templates. Calls have an id and arguments as an object (as text only
    if that is no JSON), results the id and the name of their call, reasoning both names that templates know.
    Fields that are empty are left out: templates ask whether they are there.
    """
    said: list[Message] = []
    open_calls: list[Mapping[str, Any]] = []  # without a result until now
    for message in messages:
        if not isinstance(message, Mapping):
            raise InvalidRequest("a message is a dictionary with a role and a content")
        plain = {name: value for name, value in message.items() if value not in (None, [])}
        plain["content"] = _text_of(message.get("content"))
        if plain.get("role") in _OTHER_ROLES:
            plain["role"] = _OTHER_ROLES[plain["role"]]
        if reasoning := next((plain.pop(name) for name in _REASONING if plain.get(name)), None):
            plain |= {"reasoning_content": reasoning, "thinking": reasoning}
        if calls := plain.get("tool_calls"):
            plain["tool_calls"] = [_call(call, f"call{len(said):03}{i:02}") for i, call in enumerate(calls)]
            open_calls += plain["tool_calls"]
        result = plain.get("role") == "tool"
        said.append(_result(plain, open_calls) if result else plain)
    return list(_with_one_system(said))


def one_call_each(messages: Sequence[Message]) -> list[Message]:
    """Messages with several calls as several messages, the result of each call behind it."""
    said: list[Message] = []
    results = {message["tool_call_id"]: message for message in messages if "tool_call_id" in message}
    moved: set[str] = set()
    for message in messages:
        calls = message.get("tool_calls", ())
        if len(calls) < 2:
            if message.get("tool_call_id") not in moved:
                said.append(message)
            continue
        for i, call in enumerate(calls):
            said.append({**message, "content": "" if i else message["content"], "tool_calls": [call]})
            if call["id"] in results:
                said.append(results[call["id"]])
                moved.add(call["id"])
    return said


def simpler_forms(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The messages as they are, then forms that more templates take; each only if it differs."""
    short = _with_short_ids(_without_thinking(messages))
    folded = without_system(short)
    plain = without_tools(folded)
    tried: list[list[Message]] = []
    for form in (list(messages), short, folded, _with_written_arguments(folded), plain):
        if form not in tried:
            tried.append(form)
            yield form


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
    """Calls as the assistant's text and results as the user's, as in Hermes; neighbours of a role joined."""
    plain: list[Message] = []
    for message in map(_as_text, messages):
        if plain and plain[-1]["role"] == message["role"] != "system":
            plain[-1] = _joined((plain[-1], message))
        else:
            plain.append(message)
    return plain


def _with_one_system(messages: list[Message]) -> Iterator[Message]:
    """Codex begins with several, Claude Code also ends with one, and many templates refuse or drop all but
    the first: those at the beginning are joined, and what a later one says is said by the user.
    """
    n = next((i for i, m in enumerate(messages) if m.get("role") != "system"), len(messages))
    if n:
        yield _joined(messages[:n])
    for is_said_to_model, group in groupby(messages[n:], lambda m: m.get("role") in ("user", "system")):
        turn = list(group)
        if is_said_to_model and any(m["role"] == "system" for m in turn):
            yield {**_joined(turn), "role": "user"}
        else:
            yield from turn


def _joined(messages: Sequence[Message]) -> Message:
    """Messages of one role as one."""
    text = "\n\n".join(str(message["content"]) for message in messages if message["content"])
    return {**messages[0], "content": text}


def _without_thinking(messages: Sequence[Message]) -> list[Message]:
    """gpt-oss takes no `thinking` beside content."""
    return [
        {name: value for name, value in message.items() if name != "thinking" or not message.get("content")}
        for message in messages
    ]


def _with_short_ids(messages: Sequence[Message]) -> list[Message]:
    """Ids as Mistral's templates want them: nine letters and digits."""

    def of(call: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**call, "id": _short(call["id"])} if "id" in call else call

    changed = [_with_calls(message, of) for message in messages]
    return [{**m, "tool_call_id": _short(m["tool_call_id"])} if "tool_call_id" in m else m for m in changed]


def _with_written_arguments(messages: Sequence[Message]) -> list[Message]:
    """Arguments as text, as templates of DeepSeek's want them."""

    def of(call: Mapping[str, Any]) -> Mapping[str, Any]:
        function = call.get("function", {})
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        return {**call, "function": {**function, "arguments": text}}

    return [_with_calls(message, of) for message in messages]


def _with_calls(message: Message, of: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Message:
    calls = message.get("tool_calls")
    return {**message, "tool_calls": [of(call) for call in calls]} if calls else message


def _short(id: object) -> str:
    text = str(id)
    return text if _SHORT_ID.fullmatch(text) else hashlib.blake2b(text.encode()).hexdigest()[:9]


def _text_of(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return "" if content is None else str(content)


def _call(call: Mapping[str, Any], id: str) -> dict[str, Any]:
    function = call.get("function", call)
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError, RecursionError):
            arguments = json.loads(arguments)
    named = {"name": function.get("name", ""), "arguments": arguments}
    return {"id": call.get("id") or id, "type": "function", "function": named}


def _result(message: dict[str, Any], calls: list[Mapping[str, Any]]) -> Message:
    """With the id and the name of its call: the one with its id, or with its name, or the first one."""
    name = message.pop("tool_name", None) or message.get("name")  # the first is Ollama's
    id = message.get("tool_call_id")
    meant = [call for call in calls if (id is None and call["function"]["name"] == name) or call["id"] == id]
    call = next(iter(meant or (calls if id is name is None else [])), None)
    if call is None:
        return message if name is None else {**message, "name": name}
    calls.remove(call)
    return {**message, "name": name or call["function"]["name"], "tool_call_id": call["id"]}


def _as_text(message: Message) -> Message:
    content = message.get("content") or ""
    if message.get("role") == "tool":
        return {"role": "user", "content": f"<tool_response>\n{content}\n</tool_response>"}
    calls = [
        json.dumps(call.get("function", call), ensure_ascii=False) for call in message.get("tool_calls", ())
    ]
    if not calls:
        return message
    text = "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)
    return {"role": message.get("role"), "content": f"{content}\n{text}" if content else text}
