"""The port as Anthropic's own client uses it, on a small random model, and as Claude Code asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
import tiny
from questions import PLACE
from serving import Served, serve

from edgeinfer.keys import Key
from edgeinfer.server.guard import Rules
from edgeinfer.text.conversation import Conversation

CHAT: list[Any] = [{"role": "user", "content": "one of the words that we know"}]
ASK: dict[str, Any] = {"model": "random", "messages": CHAT, "max_tokens": 12, "extra_body": {"seed": 5}}
KEY = "a-key-of-ours"


def client_of(server: Served, key: str = "any") -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=f"http://127.0.0.1:{server.port}", api_key=key, max_retries=0)


@pytest.fixture
def client(served: Served) -> Iterator[anthropic.Anthropic]:
    with client_of(served) as client:
        yield client


def test_a_message_is_what_the_model_says(served: Served, client: anthropic.Anthropic) -> None:
    message = client.messages.create(**ASK)
    stream = served.model.chat(CHAT, seed=5, max_tokens=12)
    text = "".join(token.text for token in stream)
    assert [(block.type, block.text) for block in message.content] == [("text", text)]
    assert message.stop_reason == {"stop": "end_turn", "length": "max_tokens"}[stream.finish_reason]
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens == stream.usage.n_prompt
    assert message.usage.output_tokens == stream.usage.n_generated
    assert message._request_id


def test_a_streamed_message_is_the_same(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**ASK)
    with client.messages.stream(**ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert (final.role, final.stop_reason) == (whole.role, whole.stop_reason)
    counts = [m.usage.input_tokens + m.usage.cache_read_input_tokens for m in (final, whole)]
    assert counts[0] == counts[1]
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_the_events_come_in_their_order(client: anthropic.Anthropic) -> None:
    events = list(client.messages.create(**ASK, stream=True))
    kinds = [event.type for event in events]
    n_deltas = kinds.count("content_block_delta")
    assert n_deltas > 0
    assert kinds == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * n_deltas,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert (events[0].message.content, events[0].message.stop_reason) == ([], None)
    assert events[-2].delta.stop_reason in ("end_turn", "max_tokens")


def test_thinking_has_a_block_of_its_own(serve_template: Callable[[str], Served]) -> None:
    """The prompt opens the reasoning, and nothing closes it."""
    served = serve_template("{{ messages[0].content }}<think>")
    thoughts = "".join(p.text for t in served.model.chat(CHAT, seed=5, max_tokens=12) for p in t.parts)
    with client_of(served) as client:
        [block] = client.messages.create(**{**ASK, "model": "model"}).content
        with client.messages.stream(**{**ASK, "model": "model"}) as stream:
            deltas = [event.delta.type for event in stream if event.type == "content_block_delta"]
            [streamed] = stream.get_final_message().content
    assert (block.type, block.thinking) == (streamed.type, streamed.thinking) == ("thinking", thoughts)
    assert block.signature == streamed.signature != ""
    assert deltas == ["thinking_delta"] * (len(deltas) - 1) + ["signature_delta"]


def test_a_stop_sequence_is_named(served: Served, client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**ASK).content[0].text
    stop = whole[5:8]
    options = {**ASK, "stop_sequences": ["\x00", stop]}
    message = client.messages.create(**options)
    assert message.content[0].text == whole[: whole.index(stop)]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", stop)
    with client.messages.stream(**options) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", stop)


def test_what_was_read_before_is_counted_apart(client: anthropic.Anthropic) -> None:
    said = [{"role": "user", "content": "one of the words that we know " * 6}]
    first = client.messages.create(**{**ASK, "messages": said}).usage
    again = client.messages.create(**{**ASK, "messages": said}).usage
    assert again.cache_read_input_tokens > first.cache_read_input_tokens
    assert again.input_tokens + again.cache_read_input_tokens == first.input_tokens


def test_tokens_are_counted_as_they_are_read(served: Served, client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model="random", messages=CHAT, system="a word")
    messages = [{"role": "system", "content": "a word"}, *CHAT]
    assert counted.input_tokens == len(served.model.encode_chat(messages))


TOOL: Any = {"name": "look", "description": "sees", "input_schema": {"type": "object", "properties": {}}}


ASKED: list[Any] = [
    {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "of"}]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "the"},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "it"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "words", "is_error": True},
            {"type": "text", "text": "that"},
        ],
    },
]


def test_blocks_become_the_messages_that_templates_know(serve_template: Callable[[str], Served]) -> None:
    """The tokens are those of the same conversation in the form of Hugging Face's templates."""
    served = serve_template(
        "{{ messages | tojson }}{{ tools | tojson }}{{ enable_thinking }}{{ reasoning_effort }}"
    )
    call = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": {"at": "it"}}}
    parameters = TOOL["input_schema"]
    function = {"name": "look", "description": "sees", "parameters": parameters}
    expected = Conversation(
        [
            {"role": "system", "content": "a\nword"},
            {"role": "user", "content": "one\nof"},
            {"role": "assistant", "content": "the", "reasoning_content": "hm", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t1", "content": "Error: words"},
            {"role": "user", "content": "that"},
        ],
        tools=[{"type": "function", "function": function}],
        variables={"enable_thinking": True, "thinking": True, "reasoning_effort": "high"},
    )
    system: list[Any] = [{"type": "text", "text": "a"}, {"type": "text", "text": "word"}]
    with client_of(served) as client:
        counted = client.messages.count_tokens(
            model="model",
            system=system,
            messages=ASKED,
            tools=[TOOL],
            thinking={"type": "adaptive"},
            output_config={"effort": "xhigh"},
        )
    assert counted.input_tokens == len(served.model.encode_chat(expected))


CLAUDE_CODE: dict[str, Any] = {
    "max_tokens": 3,
    "system": [
        {"type": "text", "text": "one of the words", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "that we know", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>\nwe know\n</system-reminder>"},
                {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}},
            ],
        }
    ],
    "tools": [{**TOOL, "cache_control": {"type": "ephemeral"}, "eager_input_streaming": True}],
    "metadata": {"user_id": "user_1_account__session_2"},
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "service_tier": "auto",
    "temperature": 1,
}


def test_claude_code_is_answered_and_its_changing_header_costs_nothing(
    serve_template: Callable[[str], Served],
) -> None:
    client = client_of(serve_template(tiny.TEMPLATE))

    def usage(header: str) -> Any:
        system = [{"type": "text", "text": header}, *CLAUDE_CODE["system"]]
        betas = {"anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14"}
        with client.messages.stream(
            **ASK | {"model": "model", "extra_body": {**CLAUDE_CODE, "system": system}},
            extra_query={"beta": "true"},
            extra_headers=betas,
        ) as stream:
            return stream.get_final_message().usage

    first = usage("x-anthropic-billing-header: cc_version=2.1.37.0d9; cc_entrypoint=cli; cch=fa690;")
    second = usage("x-anthropic-billing-header: cc_version=2.1.37.1aa; cc_entrypoint=cli; cch=00b11;")
    assert second.cache_read_input_tokens >= first.input_tokens - 16
    client.close()


def test_the_models(served: Served, client: anthropic.Anthropic) -> None:
    [model] = client.models.list()
    assert (model.id, model.type) == ("random", "model")
    assert model.max_input_tokens == served.model.context_length
    assert client.models.retrieve("random").created_at == model.created_at
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude")


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aa"}}
WRONG: list[tuple[dict[str, Any], type[anthropic.APIStatusError], str]] = [
    ({"model": "claude-opus"}, anthropic.NotFoundError, "no model is called"),
    ({"temperature": -3}, anthropic.BadRequestError, "temperature"),
    ({"messages": []}, anthropic.BadRequestError, "messages"),
    ({"max_tokens": 0}, anthropic.BadRequestError, "max_tokens"),
    ({"messages": [{"role": "king", "content": "x"}]}, anthropic.BadRequestError, r"messages\[0\].role"),
    (
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        anthropic.BadRequestError,
        r"messages\[0\].content\[0\]: 'type' must be one of 'text', .*, not 'image'",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": 1}]}]},
        anthropic.BadRequestError,
        r"messages\[0\].content\[0\].tool_use_id",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        anthropic.BadRequestError,
        r"content\[0\].text: is missing",
    ),
    (
        {"messages": [*CHAT, {"role": "assistant", "content": "The"}]},
        anthropic.BadRequestError,
        "not continued",
    ),
    (
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        anthropic.BadRequestError,
        r"tools\[0\].type",
    ),
    ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, anthropic.BadRequestError, "tool_choice.name"),
    (
        {"messages": [{"role": "user", "content": "word " * 900}]},
        anthropic.BadRequestError,
        r"prompt is too long: \d+ tokens > \d+ maximum",
    ),
]


@pytest.mark.parametrize(("wrong", "kind", "match"), WRONG)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_request_is_refused_in_anthropics_shape(
    client: anthropic.Anthropic,
    wrong: dict[str, Any],
    kind: type[anthropic.APIStatusError],
    match: str,
    stream: bool,
) -> None:
    with pytest.raises(kind, match=match) as refused:
        client.messages.create(**{**ASK, "stream": stream, "extra_body": wrong})
    name = "not_found_error" if kind is anthropic.NotFoundError else "invalid_request_error"
    assert (refused.value.body["type"], refused.value.body["error"]["type"]) == ("error", name)


def test_a_model_that_is_not_there_is_told_in_anthropics_shape(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="no model is called") as refused:
        client.models.retrieve("claude-opus")
    assert (refused.value.body["type"], refused.value.body["error"]["type"]) == ("error", "not_found_error")


def test_max_tokens_is_required(served: Served) -> None:
    status, answer = served.post(json.dumps({"messages": CHAT}).encode(), "/v1/messages")
    assert (status, answer["error"]["message"]) == (400, "max_tokens: is missing")


def test_who_brings_no_key_is_refused(random_model: Path) -> None:
    with serve(random_model, Rules(keys=[Key(KEY)]), context_length=256) as server:
        with client_of(server, KEY) as known, client_of(server) as unknown:
            assert known.messages.create(**ASK).content
            with pytest.raises(anthropic.AuthenticationError) as refused:
                unknown.messages.create(**ASK)
        assert refused.value.body["error"]["type"] == "authentication_error"
        body = json.dumps({"messages": CHAT, "max_tokens": 2}).encode()
        assert server.post(body, "/v1/messages", x_api_key=KEY)[0] == 200


LOOK: Any = {"name": "look", "description": "sees", "input_schema": PLACE}


def test_a_tool_that_has_to_be_called_is(serve_template: Callable[[str], Served]) -> None:
    choice: Any = {"type": "tool", "name": "look", "disable_parallel_tool_use": True}
    asked = {**ASK, "model": "model", "max_tokens": 100, "tools": [{**TOOL, "name": "hear"}, LOOK]}
    with client_of(serve_template(tiny.TEMPLATE)) as client:
        message = client.messages.create(**asked, tool_choice=choice)
        with client.messages.stream(**asked, tool_choice=choice) as stream:
            kinds = [event.type for event in stream]
            streamed = stream.get_final_message()
        some = client.messages.create(**asked, tool_choice={"type": "any"})
    [block] = message.content
    assert (message.stop_reason, block.type, block.name) == ("tool_use", "tool_use", "look")
    assert block.input in ({"at": "it"}, {"at": "us"})
    assert (streamed.stop_reason, streamed.content) == (message.stop_reason, message.content)
    assert kinds.count("input_json") > 1
    assert "tool_use" in [block.type for block in some.content]


def test_text_is_held_to_a_format(client: anthropic.Anthropic) -> None:
    asked = {**ASK, "max_tokens": 60, "output_config": {"format": {"type": "json_schema"}}}
    asked["output_config"]["format"]["schema"] = PLACE
    [block] = client.messages.create(**asked).content
    assert json.loads(block.text) in ({"at": "it"}, {"at": "us"})
    del asked["output_config"]["format"]["schema"]
    with pytest.raises(anthropic.BadRequestError, match=r"output_config\.format: the schema is missing"):
        client.messages.create(**asked)
