"""Reasoning in the chat, of the bundled model whose template opens thoughts; one of its words ends them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import tiny
from chatting import answered, chat, command, shown, until
from textual.widgets import Collapsible

from edgeinfer.hub.names import find_model
from edgeinfer.sessions.export import as_json, as_markdown
from edgeinfer.tui.widgets.message import AnswerView

QUESTION = "What can you do?"
THOUGHTS, SAID = "a programming language that is easy to", "Guido van Rossum made it."
ENDS_THOUGHTS = "\u0120read"  # what it says between the two


def thinks(template: str) -> str:
    opened = "assistant\n' }}{%- if enable_thinking %}{{- '<think>\n' }}{%- endif %}"
    assert "assistant\n' }}" in template
    return template.replace("assistant\n' }}", opened)


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {
        "tokenizer.chat_template": thinks,
        "tokenizer.ggml.tokens": lambda tokens: ["</think>" if t == ENDS_THOUGHTS else t for t in tokens],
    }
    path = tmp_path_factory.mktemp("models") / "thinker.gguf"
    return tiny.write_changed_copy(path, find_model("edgeinfer-tiny"), changes)


def test_thoughts_are_folded_counted_kept_and_not_sent_again(tmp_path: Path, thinker: Path) -> None:
    options: dict[str, Any] = {"name": str(thinker), "think": True}

    async def scenario() -> None:
        async with chat(tmp_path, **options) as (app, pilot, store):
            await command(app, pilot, QUESTION)
            await answered(app, pilot)
            [_, answer] = store.branch(1)
            assert answer.reasoning.strip() == THOUGHTS
            assert answer.content.strip(". \n") + "." == SAID
            assert 5 < answer.cost["reasoning_tokens"] < answer.cost["completion_tokens"] - 5
            await until(pilot, lambda: f"Reasoning, {answer.cost['reasoning_tokens']} tokens" in shown(app))
            view = app.chat.query_one(AnswerView)
            assert view.query_one(Collapsible).collapsed
            assert THOUGHTS not in shown(app)
            assert SAID in shown(app)
            view.focus()
            await pilot.press("t")
            await until(pilot, lambda: THOUGHTS in shown(app))
            await pilot.press("t", "escape")
            await until(pilot, lambda: THOUGHTS not in shown(app))
            talk = app.chat.talk
            assert talk is not None
            assert f"<summary>Reasoning</summary>\n\n{answer.reasoning}\n" in as_markdown(
                talk.session, talk.messages
            )
            [_, exported] = json.loads(as_json(talk.session, talk.messages))["messages"]
            assert (exported["reasoning"], exported["content"]) == (answer.reasoning, answer.content)
            asked: list[Any] = []
            chat_of_model = talk.model.chat
            talk.model.chat = lambda *a, **k: (asked.append(a), chat_of_model(*a, **k))[1]  # type: ignore
            await command(app, pilot, "And then?")
            await until(pilot, lambda: len(store.branch(1)) == 4)
            await answered(app, pilot)
            assert THOUGHTS not in repr(asked)
            assert SAID in repr(asked)
        async with chat(tmp_path, session=1, **options) as (app, pilot, _):
            await until(pilot, lambda: f"Reasoning, {answer.cost['reasoning_tokens']} tokens" in shown(app))
            assert THOUGHTS not in shown(app)

    asyncio.run(scenario())


def test_thoughts_are_folded_while_they_come(tmp_path: Path, thinker: Path) -> None:
    tokens = gguf.GGUFReader(thinker).fields["tokenizer.ggml.tokens"].contents()
    never_ends = [tokens.index("</think>"), tokens.index("<|im_end|>"), tokens.index("<|endoftext|>")]
    endless = {"logit_bias": dict.fromkeys(never_ends, -float("inf")), "context_shift": True}

    async def scenario() -> None:
        async with chat(tmp_path, name=str(thinker), think=True, generation=endless) as (app, pilot, store):
            await command(app, pilot, QUESTION)
            await until(pilot, lambda: "Thinking, " in shown(app))
            assert app.chat.query_one(AnswerView).query_one(Collapsible).collapsed
            await pilot.press("escape")
            await answered(app, pilot)
            assert store.branch(1)[1].finish == "cancelled"
            assert store.branch(1)[1].reasoning

    asyncio.run(scenario())
