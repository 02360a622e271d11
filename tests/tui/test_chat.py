"""The terminal interface with the real engine and the bundled tiny model, through Textual's pilot."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from chatting import ASKED, answered, chat, command, say, until

import edgeinfer
import edgeinfer.loading
from edgeinfer.tui.widgets.message import AnswerView, QuestionView


def test_a_question_is_answered_shown_and_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, store):
            answer = await say(app, pilot, ASKED)
            assert "edgeinfer pull" in answer
            [session] = store.sessions()
            assert session.title == ASKED
            assert [m.content for m in store.branch(session.id)] == [ASKED, answer]
            cost = store.branch(session.id)[1].cost
            assert cost["completion_tokens"] > 5
            await say(app, pilot, "And what then?")
            assert app.chat.talk is not None
            assert app.chat.talk.messages[-1].cost["cached_tokens"] > cost["prompt_tokens"]

    asyncio.run(scenario())


def test_another_answer_and_another_question_stay_beside_the_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, store):
            first = await say(app, pilot, ASKED)
            app.chat.query(AnswerView).last().focus()
            await pilot.press("r")
            await until(pilot, lambda: app.chat.query(AnswerView).last().versions == "\u20392/2\u203a")
            assert app.chat.query(AnswerView).last().message.content == first  # the same, at temperature 0
            app.chat.query(QuestionView).first().focus()
            await pilot.press("e", "ctrl+u", *"Hello", "enter")
            await until(pilot, lambda: app.chat.query(QuestionView).last().versions == "\u20392/2\u203a")
            await answered(app, pilot)
            assert store.branch(1)[0].content == "Hello"
            app.chat.query(QuestionView).first().focus()
            await pilot.press("left")
            await until(pilot, lambda: app.chat.query(QuestionView).first().message.content == ASKED)

    asyncio.run(scenario())


def test_escape_stops_an_answer_and_keeps_what_is_there(tmp_path: Path) -> None:
    async def scenario() -> None:
        never_ends = dict.fromkeys(edgeinfer.loading.load_tokenizer().eog_ids, -float("inf"))
        endless = {"temperature": 0.0, "logit_bias": never_ends, "context_shift": True}
        async with chat(tmp_path, generation=endless) as (app, pilot, store):
            await pilot.press(*ASKED, "enter")
            await until(pilot, lambda: bool(store.sessions()) and len(store.branch(1)) == 2)
            await until(pilot, lambda: "edgeinfer" in store.branch(1)[1].content)
            await pilot.press("escape")
            await answered(app, pilot)
            assert store.branch(1)[1].finish == "cancelled"

    asyncio.run(scenario())


def test_a_session_is_found_and_opened_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, _):
            answer = await say(app, pilot, ASKED)
            await pilot.press("ctrl+n")
            await until(pilot, lambda: not app.chat.query(AnswerView))
            await pilot.press("f2", *"download")
            await pilot.press("enter")
            await until(pilot, lambda: bool(app.chat.query(AnswerView)))
            assert app.chat.query(AnswerView).last().message.content == answer

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/set temperature 900", "temperature must be a number from 0.0 to 100.0, not 900"),
        ("/nonsense", "there is no command /nonsense"),
        ("/model nobody", "no model is called 'nobody'"),
    ],
)
def test_what_is_wrong_with_a_command_is_told(tmp_path: Path, line: str, told: str) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, _):
            await command(app, pilot, line)
            await until(pilot, lambda: any(told in note.title for note in app._notifications))

    asyncio.run(scenario())


def test_commands_set_parameters_and_save(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, store):
            await command(app, pilot, "/set max_tokens 3")
            await command(app, pilot, "/system Be short.")
            await say(app, pilot, ASKED)
            [session] = store.sessions()
            assert (session.parameters, session.system) == ({"max_tokens": 3}, "Be short.")
            assert store.branch(session.id)[1].cost["completion_tokens"] == 3
            await command(app, pilot, f"/save {tmp_path / 'x.md'}")
            await until(pilot, lambda: (tmp_path / "x.md").exists())
            assert ASKED in (tmp_path / "x.md").read_text()

    asyncio.run(scenario())
