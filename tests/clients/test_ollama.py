"""Ollama's Python client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest
from questions import CHAT, DAY, QUESTION, TINY

ASKED: dict[str, Any] = {
    "model": TINY,
    "messages": CHAT,
    "options": {"temperature": 0, "num_predict": 100},
}


def look(day: str) -> str:
    """The weather of a day.

    Args:
        day: which one
    """
    return f"warm on {day}"


@pytest.fixture
def client(root: str) -> Iterator[ollama.Client]:
    with ollama.Client(host=root) as client:
        yield client


def test_a_chat_and_its_stream(client: ollama.Client) -> None:
    whole = client.chat(**ASKED)
    assert "edgeinfer pull" in (whole.message.content or "")
    parts = list(client.chat(**ASKED, stream=True))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert parts[-1].done_reason == "stop"


def test_a_text_that_is_generated(client: ollama.Client) -> None:
    answer = client.generate(model=TINY, prompt=QUESTION, options=ASKED["options"])
    assert "edgeinfer pull" in answer.response


def test_tools_are_told_to_the_model(client: ollama.Client) -> None:
    without = client.chat(**ASKED)
    told = client.chat(**ASKED, tools=[look])
    assert (told.prompt_eval_count or 0) > (without.prompt_eval_count or 0)


def test_a_form_is_kept(client: ollama.Client) -> None:
    answer = client.chat(**ASKED, format=DAY)
    assert json.loads(answer.message.content or "")["day"] in ("monday", "sunday")


def test_what_is_here(client: ollama.Client) -> None:
    assert any((model.model or "").startswith(TINY) for model in client.list().models)
    assert client.show(TINY).details is not None
    client.chat(**ASKED)
    assert any((model.model or "").startswith(TINY) for model in client.ps().models)


def test_errors(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="nobody") as refused:
        client.chat(**{**ASKED, "model": "nobody"})
    assert refused.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="embedding"):
        client.embed(model=TINY, input="text")
    long = [{"role": "user", "content": "word " * 3000}]
    with pytest.raises(ollama.ResponseError, match="maximum context length"):
        client.chat(**{**ASKED, "messages": long})
