"""Calls that are forced: a random model, which knows nothing of tools, calls them validly in every family."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import ollama
import openai
import pytest
import tiny
from serving import Served

from edgeinfer.streaming import Answer
from edgeinfer.text.conversation import Conversation
from edgeinfer.text.grammar import Grammar
from edgeinfer.text.toolcalls.families import FAMILIES
from edgeinfer.text.toolcalls.syntax import Syntax

CHAT: list[Any] = [{"role": "user", "content": "one of the words that we know"}]
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Köln", 'a "city"', "x\ny"]},
        "days": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
    },
    "required": ["city", "days"],
}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS, "strict": True}},
    {"type": "function", "function": {"name": "clock", "description": "The time"}},
]


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def served(request: pytest.FixtureRequest, serve_template: Callable[[str], Served]) -> Served:
    """Its template has the signs of a family."""
    family: Syntax = request.param
    return serve_template(f"{{# tools {' '.join(family.signs)} #}}{tiny.TEMPLATE}")


@pytest.fixture
def asked() -> dict[str, Any]:
    """With a seed: another might begin to think, where the family can, and find no end."""
    return {"model": "model", "messages": CHAT, "tools": TOOLS, "seed": 1, "max_tokens": 300}


def check(name: str, arguments: dict[str, Any]) -> None:
    if name == "clock":
        assert arguments == {}
        return
    assert name == "get_weather"
    assert arguments.keys() == {"city", "days"}
    assert arguments["city"] in PARAMETERS["properties"]["city"]["enum"]
    assert 1 <= len(arguments["days"]) <= 2
    assert all(isinstance(day, bool) for day in arguments["days"])


def collected(chunks: Iterator[Any]) -> tuple[dict[int, list[str]], str | None]:
    """index -> id, name and arguments of a streamed answer, and why it ended."""
    calls: dict[int, list[str]] = {}
    reason = None
    for chunk in chunks:
        [choice] = chunk.choices
        assert not choice.delta.content
        for delta in choice.delta.tool_calls or ():
            if delta.id is not None:
                assert delta.type == "function"
                calls[delta.index] = [delta.id, delta.function.name, ""]
            calls[delta.index][2] += delta.function.arguments
        reason = reason or choice.finish_reason
    return calls, reason


def test_required_calls_are_valid(served: Served, asked: dict[str, Any]) -> None:
    create = served.client().chat.completions.create
    for seed in range(3):
        options = {**asked, "seed": seed, "tool_choice": "required", "parallel_tool_calls": False}
        choice = create(**options).choices[0]
        [call] = choice.message.tool_calls
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        check(call.function.name, json.loads(call.function.arguments))
        calls, reason = collected(create(**options, stream=True))
        assert calls == {0: [call.id, call.function.name, call.function.arguments]}
        assert reason == "tool_calls"


def test_a_named_tool_is_called(served: Served, asked: dict[str, Any]) -> None:
    named = {"type": "function", "function": {"name": "clock"}}
    choice = served.client().chat.completions.create(**asked, tool_choice=named).choices[0]
    assert [(c.function.name, c.function.arguments) for c in choice.message.tool_calls] == [("clock", "{}")]


@pytest.fixture
def plain(serve_template: Callable[[str], Served]) -> Served:
    """Its template knows no tools: they are told in the system message."""
    return serve_template(tiny.TEMPLATE)


def test_several_calls_have_ids_of_their_own(plain: Served, asked: dict[str, Any]) -> None:
    create = plain.client().chat.completions.create
    answers = [create(**{**asked, "seed": seed}, tool_choice="required").choices[0] for seed in range(4)]
    calls = [answer.message.tool_calls for answer in answers]
    assert max(map(len, calls)) > 1
    for answer in answers:
        whole = answer.message.tool_calls[: None if answer.finish_reason == "tool_calls" else -1]
        for call in whole:
            check(call.function.name, json.loads(call.function.arguments))
    ids = [call.id for answer in calls for call in answer]
    assert len(set(ids)) == len(ids)


def test_a_call_that_is_cut_off_is_a_fragment(plain: Served, asked: dict[str, Any]) -> None:
    create = plain.client().chat.completions.create
    named = {"type": "function", "function": {"name": "get_weather"}}
    whole = create(**asked, tool_choice=named).choices[0].message.tool_calls[0].function
    n = len(
        plain.model.tokenizer.encode(
            '<tool_call>\n{"name": "get_weather", "arguments": {"ci', add_special=False
        )
    )
    options = {**asked, "max_tokens": n, "tool_choice": named}
    cut = create(**options).choices[0]
    assert cut.finish_reason == "length"
    [call] = cut.message.tool_calls
    assert call.function.name == "get_weather"
    assert whole.arguments.startswith(call.function.arguments)


def test_a_conversation_goes_on_with_its_calls(plain: Served, asked: dict[str, Any]) -> None:
    create = plain.client().chat.completions.create
    first = create(**asked, tool_choice="required", parallel_tool_calls=False).choices[0].message
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"}
    messages = [*CHAT, first.model_dump(exclude_none=True), result]
    again = create(**{**asked, "messages": messages, "max_tokens": 5, "tool_choice": "none"})
    assert again.choices[0].message.tool_calls is None


def test_a_tool_has_to_be_there(plain: Served, asked: dict[str, Any]) -> None:
    named = {"type": "function", "function": {"name": "look"}}
    with pytest.raises(openai.BadRequestError, match="wants 'look' to be called"):
        plain.client().chat.completions.create(**asked, tool_choice=named)


def test_ollama_has_arguments_as_objects(plain: Served) -> None:
    """No field of Ollama's forces calls, but beside a `format` there is nothing else than calls."""
    messages = [
        *CHAT,
        {"role": "assistant", "tool_calls": [{"function": {"name": "clock", "arguments": {}}}]},
        {"role": "tool", "tool_name": "clock", "content": "noon"},
    ]
    nothing: Any = {"type": "object", "properties": {}, "additionalProperties": False}
    n_calls = 0
    with ollama.Client(f"http://127.0.0.1:{plain.port}") as client:
        for seed in range(12):
            asked: Any = {"tools": TOOLS, "format": nothing, "options": {"seed": seed, "num_predict": 300}}
            answer = client.chat("model", messages, **asked)
            calls = [call.function for call in answer.message.tool_calls or ()]
            parts = [part.message for part in client.chat("model", messages, stream=True, **asked)]
            assert [call.function for part in parts for call in part.tool_calls or ()] == calls
            assert "".join(part.content or "" for part in parts) == answer.message.content
            for call in calls:
                check(call.name, dict(call.arguments))
            assert calls or answer.message.content == "{}"
            n_calls += len(calls)
    assert n_calls > 0


def test_content_under_a_grammar_or_calls(served: Served) -> None:
    grammar = Grammar.json_schema({"type": "object", "properties": {}, "additionalProperties": False})
    conversation = Conversation(CHAT, TOOLS, parallel_tool_calls=False)
    for seed in range(4):
        stream = served.model.chat(conversation, grammar=grammar, seed=seed, max_tokens=300)
        answer = Answer(list(stream), stream)
        if answer.tool_calls:
            [call] = answer.tool_calls
            check(call.name, json.loads(call.arguments))
            assert stream.finish_reason == "tool_calls"
        else:
            assert (json.loads(answer.text), stream.finish_reason) == ({}, "stop")
