"""Anthropic's Python client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from questions import CHAT, DAY, TINY

ASKED: dict[str, Any] = {
    "model": TINY,
    "max_tokens": 100,
    "messages": CHAT,
    "extra_body": {"temperature": 0},
}
WEATHER: dict[str, Any] = {"name": "weather", "input_schema": DAY}


@pytest.fixture
def client(root: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=root, api_key="any", max_retries=0) as client:
        yield client


def test_a_message_and_its_stream(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(**ASKED)
    assert whole.content[0].type == "text"
    assert "edgeinfer pull" in whole.content[0].text
    assert whole.stop_reason == "end_turn"
    with client.messages.stream(**ASKED) as stream:
        assert stream.get_final_text() == whole.content[0].text


def test_a_tool_that_has_to_be_called_and_its_stream(client: anthropic.Anthropic) -> None:
    options: dict[str, Any] = {
        **ASKED,
        "tools": [WEATHER],
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    }
    whole = client.messages.create(**options)
    assert whole.stop_reason == "tool_use"
    [call] = [block for block in whole.content if block.type == "tool_use"]
    assert (call.name, call.input in ({"day": "monday"}, {"day": "sunday"})) == ("weather", True)
    with client.messages.stream(**options) as stream:
        [streamed] = [b for b in stream.get_final_message().content if b.type == "tool_use"]
    assert streamed.input == call.input


def test_tokens_are_counted_as_they_are_read(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=TINY, messages=ASKED["messages"])
    usage = client.messages.create(**ASKED).usage
    assert counted.input_tokens == usage.input_tokens + (usage.cache_read_input_tokens or 0)


def test_models(client: anthropic.Anthropic) -> None:
    assert TINY in [model.id for model in client.models.list()]


def test_errors(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="nobody"):
        client.messages.create(**{**ASKED, "model": "nobody"})
    long = [{"role": "user", "content": "word " * 3000}]
    with pytest.raises(anthropic.BadRequestError, match="maximum context length"):
        client.messages.create(**{**ASKED, "messages": long})
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(**{**ASKED, "max_tokens": 0})
