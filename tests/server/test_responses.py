"""The port as OpenAI's own client asks it for responses, on a small random model, and as Codex does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import openai
import pydantic
import pytest
import tiny
from questions import PLACE
from serving import Served

from edgeinfer.text.conversation import Conversation

SAID = "one of the words that we know"
CHAT: list[Any] = [{"role": "user", "content": SAID}]
ASK: dict[str, Any] = {"model": "random", "input": SAID, "max_output_tokens": 12, "extra_body": {"seed": 5}}


def test_a_response_is_what_the_model_says(served: Served) -> None:
    response = served.client().responses.create(**ASK)
    stream = served.model.chat(CHAT, seed=5, max_tokens=12)
    assert response.output_text == "".join(token.text for token in stream)
    assert response.usage is not None
    assert response.usage.input_tokens == stream.usage.n_prompt
    assert response.usage.output_tokens == stream.usage.n_generated
    expected = ("completed", None) if stream.finish_reason == "stop" else ("incomplete", "max_output_tokens")
    details = response.incomplete_details
    assert (response.status, details.reason if details else None) == expected


def test_a_streamed_response_is_the_same(served: Served) -> None:
    """OpenAI's client puts it together, and refuses events out of order."""
    whole = served.client().responses.create(**ASK)
    with served.client().responses.stream(**ASK) as stream:
        events = list(stream)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    last = events[-1].response
    assert "".join(deltas) == last.output_text == whole.output_text
    assert (last.status, last.usage.output_tokens) == (whole.status, whole.usage.output_tokens)


def test_the_events_come_in_their_order(served: Served) -> None:
    events = list(served.client().responses.create(**ASK, stream=True))
    kinds = [event.type for event in events]
    n_deltas = kinds.count("response.output_text.delta")
    assert n_deltas > 0
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * n_deltas,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        f"response.{events[-1].response.status}",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert len({event.response.id for event in (events[0], events[1], events[-1])}) == 1


def test_reasoning_is_an_item_that_can_be_given_back(serve_template: Callable[[str], Served]) -> None:
    """The prompt opens the reasoning, and nothing closes it."""
    served = serve_template("{{ messages | tojson }}<think>")
    client = served.client()
    include: Any = ["reasoning.encrypted_content"]
    response = client.responses.create(**{**ASK, "model": "model"}, include=include)
    thoughts = "".join(p.text for t in served.model.chat(CHAT, seed=5, max_tokens=12) for p in t.parts)
    [item] = response.output
    assert (item.type, item.content[0].text, item.encrypted_content) == ("reasoning", thoughts, thoughts)
    assert response.usage.output_tokens_details.reasoning_tokens > 0
    events = list(client.responses.create(**{**ASK, "model": "model"}, stream=True))
    deltas = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    assert "".join(deltas) == thoughts

    bare = {"type": "reasoning", "id": item.id, "summary": [], "encrypted_content": thoughts}  # as Codex does
    for given in (item.to_dict(), bare):
        asked = client.responses.input_tokens.count(model="model", input=[*CHAT, given, *CHAT])
        said = [*CHAT, {"role": "assistant", "content": "", "reasoning_content": thoughts}, *CHAT]
        assert asked.input_tokens == len(served.model.encode_chat(said))


FUNCTION: Any = {
    "type": "function",
    "name": "look",
    "description": "sees",
    "parameters": {"type": "object", "properties": {"at": {"type": "string"}}},
    "strict": False,
}


def test_items_become_the_messages_that_templates_know(serve_template: Callable[[str], Served]) -> None:
    """The tokens are those of the same conversation in the form of Hugging Face's templates."""
    served = serve_template("{{ messages | tojson }}{{ tools | tojson }}{{ reasoning_effort }}")
    items: Any = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one"}]},
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "the", "annotations": []}]},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at": "it"}'},
        {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}", "id": "fc_2"},
        {"type": "function_call_output", "call_id": "c1", "output": "words"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "more"}],
        },
        {"role": "developer", "content": "that"},
    ]
    first = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"at": "it"}}}
    second = {"id": "c2", "type": "function", "function": {"name": "look", "arguments": {}}}
    function = {name: FUNCTION[name] for name in ("name", "description", "parameters")}
    expected = Conversation(
        [
            {"role": "system", "content": "a word"},
            {"role": "user", "content": "one"},
            {
                "role": "assistant",
                "content": "the",
                "reasoning_content": "hm",
                "tool_calls": [first, second],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "words"},
            {"role": "tool", "tool_call_id": "c2", "content": "more"},
            {"role": "system", "content": "that"},
        ],
        tools=[{"type": "function", "function": function}],
        variables={"reasoning_effort": "low"},
    )
    counted = served.client().responses.input_tokens.count(
        model="model", instructions="a word", input=items, tools=[FUNCTION], reasoning={"effort": "low"}
    )
    assert counted.input_tokens == len(served.model.encode_chat(expected))


def test_functions_of_a_namespace_have_one_name(serve_template: Callable[[str], Served]) -> None:
    """Codex declares those of an MCP server so (openai/codex#36942)."""
    served = serve_template("{{ messages | tojson }}{{ tools | tojson }}")
    call = {"type": "function_call", "call_id": "c1", "arguments": "{}"}

    def counted(tools: Any, **named: str) -> int:
        given: Any = [*CHAT, {**call, **named}]
        return (
            served.client().responses.input_tokens.count(model="model", input=given, tools=tools).input_tokens
        )

    namespace = {"type": "namespace", "name": "mcp__eyes__", "description": "see", "tools": [FUNCTION]}
    flat = {**FUNCTION, "name": "mcp__eyes__look"}
    in_namespace = counted([namespace], name="look", namespace="mcp__eyes__")
    assert in_namespace == counted([flat], name="mcp__eyes__look") > counted([flat], name="look")


CODEX: dict[str, Any] = {
    "instructions": "one of the words",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "that we know"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
    ],
    "tools": [
        FUNCTION,
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark"}},
        {"type": "local_shell"},
        {"type": "web_search", "external_web_access": False},
        {"type": "namespace", "name": "mcp", "tools": [FUNCTION]},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199",
    "text": {"verbosity": "low"},
    "client_metadata": {"x-codex-installation-id": "1"},
    "max_output_tokens": 3,
}


def test_what_codex_sends_is_answered(serve_template: Callable[[str], Served]) -> None:
    """Its functions can be called; tools that only OpenAI's models or service have are left out."""
    client = serve_template(tiny.TEMPLATE).client()
    stream = client.responses.create(model="model", stream=True, extra_body=CODEX)
    kinds = [event.type for event in stream]
    assert kinds[0] == "response.created"
    assert kinds[-1] in ("response.completed", "response.incomplete")


# LM Studio's models are loaded so by Codex; `llm --responses` keeps nothing; some clients write all fields
ACCEPTED: list[dict[str, Any]] = [
    {"input": "", "max_output_tokens": 1},
    {"input": [], "max_output_tokens": 1},
    {"input": SAID, "store": False, "max_output_tokens": 1, "text": {"format": {"type": "text"}}},
    {"input": SAID, "max_output_tokens": 1, "tools": None, "text": None, "reasoning": None, "include": None},
]


@pytest.mark.parametrize("body", ACCEPTED)
def test_what_clients_were_seen_to_send_is_answered(served: Served, body: dict[str, Any]) -> None:
    status, answer = served.post(json.dumps({"model": "random", **body}).encode(), "/v1/responses")
    assert (status, answer["usage"]["output_tokens"]) == (200, 1), answer


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,aa"}
WRONG: list[tuple[dict[str, Any], type[openai.APIStatusError], str]] = [
    ({"model": "gpt-5"}, openai.NotFoundError, "no model is called"),
    ({"temperature": -3}, openai.BadRequestError, "temperature"),
    ({"max_output_tokens": 0}, openai.BadRequestError, "max_output_tokens: must be at least 1, not 0"),
    ({"previous_response_id": "resp_1"}, openai.BadRequestError, "send the whole conversation"),
    ({"conversation": "conv_1"}, openai.BadRequestError, "conversation: is not supported"),
    ({"background": True}, openai.BadRequestError, "background: is not supported"),
    (
        {"input": [{"role": "user", "content": [IMAGE]}]},
        openai.BadRequestError,
        r"input\[0\].content\[0\].type",
    ),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, openai.BadRequestError, r"input\[0\]"),
    (
        {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
        openai.BadRequestError,
        r"input\[0\].call_id: is missing",
    ),
    ({"tools": [{"type": "function"}]}, openai.BadRequestError, r"tools\[0\]: a function has a name"),
    ({"tool_choice": "required"}, openai.BadRequestError, "there is none"),
    ({"tool_choice": {"type": "web_search"}}, openai.BadRequestError, "tool_choice"),
    ({"input": "word " * 900}, openai.BadRequestError, "length is 256"),
]


@pytest.mark.parametrize(("wrong", "kind", "match"), WRONG)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_request_is_refused_in_openais_shape(
    served: Served, wrong: dict[str, Any], kind: type[openai.APIStatusError], match: str, stream: bool
) -> None:
    with pytest.raises(kind, match=match) as refused:
        served.client().responses.create(**{**ASK, "stream": stream, "extra_body": wrong})
    assert {"message", "type", "param", "code"} <= refused.value.body.keys()


LOOK: Any = {**FUNCTION, "parameters": PLACE}


def test_a_function_that_has_to_be_called_is(serve_template: Callable[[str], Served]) -> None:
    client = serve_template(tiny.TEMPLATE).client()
    asked = {**ASK, "model": "model", "max_output_tokens": 100, "parallel_tool_calls": False}
    namespace = {"type": "namespace", "name": "eyes", "description": "see", "tools": [LOOK]}
    for tools, choice, named in (
        ([LOOK], {"type": "function", "name": "look"}, ("look", None)),
        ([namespace], "required", ("look", "eyes")),
    ):
        asked |= {"tools": tools, "tool_choice": choice}
        [call] = client.responses.create(**asked).output
        assert (call.type, call.name, call.namespace) == ("function_call", *named)
        assert json.loads(call.arguments) in ({"at": "it"}, {"at": "us"})
        with client.responses.stream(**asked) as stream:
            events = list(stream)
        deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
        assert "".join(deltas) == call.arguments
        assert events[-1].type == "response.completed"


class Sight(pydantic.BaseModel):
    at: Literal["it", "us"]


def test_text_in_a_format_is_parsed(served: Served) -> None:
    parsed = served.client().responses.parse(**{**ASK, "max_output_tokens": 60}, text_format=Sight)
    assert isinstance(parsed.output_parsed, Sight)
    assert parsed.text.format.name == "Sight"
    assert parsed.text.format.schema_["required"] == ["at"]
