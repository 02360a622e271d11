"""Reasoning at every door, of a model whose template opens it when it is asked to think."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest
import tiny
from serving import Served, serve

CHAT: list[Any] = [{"role": "user", "content": "one of the words that we know"}]


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It never ends its thoughts."""
    template = tiny.TEMPLATE.replace(
        "assistant\n{% endif %}", "assistant\n{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
    )
    assert template != tiny.TEMPLATE
    path = tmp_path_factory.mktemp("models") / "thinker.gguf"
    return tiny.write_gguf(path, "llama", "Q8_0", template=template)


@pytest.fixture(scope="module")
def served(thinker: Path) -> Iterator[Served]:
    with serve(thinker, context_length=256) as server:
        yield server


@pytest.fixture
def thoughts(served: Served) -> str:
    """What it thinks about CHAT with seed 5."""
    ids = served.model.encode_chat(CHAT)
    ids += served.model.tokenizer.encode("<think>\n", add_special=False)
    return "".join(t.text for t in served.model.generate(ids, seed=5, max_tokens=12)).strip()


def test_openai_has_reasoning_content(served: Served, thoughts: str) -> None:
    options: Any = {"model": "thinker", "messages": CHAT, "seed": 5, "max_tokens": 12}
    client = served.client().chat.completions
    for asked in (
        {"reasoning_effort": "low"},
        {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}},
    ):
        message = client.create(**options, **asked).choices[0].message
        assert (message.content, message.reasoning_content) == ("", thoughts)
        deltas = [chunk.choices[0].delta for chunk in client.create(**options, **asked, stream=True)]
        assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == thoughts
        assert not any(delta.content for delta in deltas)
    plain = client.create(**options, reasoning_effort="none").choices[0].message
    assert plain.content
    assert not hasattr(plain, "reasoning_content")


@pytest.mark.parametrize("think", [True, "low"])
def test_ollama_has_thinking(served: Served, thoughts: str, think: Any) -> None:
    asked: Any = {"options": {"seed": 5, "num_predict": 12}, "think": think}
    with ollama.Client(f"http://127.0.0.1:{served.port}") as client:
        whole = client.chat("thinker", CHAT, **asked)
        assert (whole.message.content, whole.message.thinking) == ("", thoughts)
        parts = list(client.chat("thinker", CHAT, stream=True, **asked))
        assert "".join(part.message.thinking or "" for part in parts) == thoughts
        answer = client.generate("thinker", CHAT[0]["content"], **asked)
        assert (answer.response, answer.thinking) == ("", thoughts)
        assert client.chat("thinker", CHAT, **{**asked, "think": False}).message.content


def test_the_command_line_keeps_thoughts_apart(
    thinker: Path, edgeinfer_command: Callable[..., Any], served: Served, thoughts: str
) -> None:
    asked = ("run", str(thinker), CHAT[0]["content"], "--seed", "5", "-n", "12")
    result = edgeinfer_command(*asked, "--think")
    assert (result.out.strip(), result.err) == ("", "")
    told = json.loads(edgeinfer_command(*asked, "--think", "--json").out)
    assert (told["text"], told["reasoning"]) == ("", thoughts)
    assert edgeinfer_command(*asked, "--no-think").out.strip()
