"""OpenAI's Python client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from questions import CHAT, TINY, Weather


@pytest.fixture
def client(v1: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=v1, api_key="any", max_retries=0) as client:
        yield client


def test_an_answer_and_its_stream(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=TINY, messages=CHAT, temperature=0)
    assert "edgeinfer pull" in (whole.choices[0].message.content or "")
    with client.chat.completions.stream(model=TINY, messages=CHAT, temperature=0) as stream:
        assert stream.get_final_completion().choices[0].message.content == whole.choices[0].message.content


def test_a_parsed_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(model=TINY, messages=CHAT, response_format=Weather, seed=1)
    assert isinstance(answer.choices[0].message.parsed, Weather)


def test_a_tool_that_has_to_be_called_and_its_stream(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": TINY,
        "messages": CHAT,
        "tools": [openai.pydantic_function_tool(Weather)],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "seed": 2,
    }
    [choice] = client.chat.completions.create(**asked).choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or []
    assert call.type == "function"
    Weather.model_validate_json(call.function.arguments)
    with client.chat.completions.stream(**asked) as stream:
        [streamed] = stream.get_final_completion().choices[0].message.tool_calls or []
    assert streamed.function.arguments == call.function.arguments


def test_a_response_and_its_stream(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": TINY, "input": CHAT[0]["content"], "temperature": 0}
    whole = client.responses.create(**asked)
    assert "edgeinfer pull" in whole.output_text
    with client.responses.stream(**asked) as stream:
        assert stream.get_final_response().output_text == whole.output_text


def test_a_completion(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=TINY, prompt="edgeinfer", max_tokens=5, logprobs=2, echo=True)
    assert answer.choices[0].text.startswith("edgeinfer")
    assert answer.choices[0].logprobs is not None


def test_models(client: openai.OpenAI) -> None:
    assert TINY in [model.id for model in client.models.list()]
    assert client.models.retrieve(TINY).id == TINY


def test_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="nobody"):
        client.chat.completions.create(model="nobody", messages=CHAT)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=TINY, messages=[{"role": "user", "content": "word " * 3000}])
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="embedding"):
        client.embeddings.create(model=TINY, input="text")
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=TINY, messages=CHAT, temperature=-1)
    assert "temperature" in json.dumps(refused.value.body)
