"""Two programs have one session open: each goes on with what it shows, and neither ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from chatting import ASKED, answered, chat, command, opened, say, told, until

import edgeinfer.loading
from edgeinfer.sessions.store import SessionStore
from edgeinfer.tui.screens.sessions import SessionsScreen
from edgeinfer.tui.widgets.message import AnswerView, QuestionView
from edgeinfer.tui.widgets.prompt import Prompt


@pytest.fixture(scope="module")
def endless() -> dict[str, Any]:
    """Parameters with which an answer ends only when it is stopped."""
    never_ends = dict.fromkeys(edgeinfer.loading.load_tokenizer().eog_ids, -float("inf"))
    return {"temperature": 0.0, "logit_bias": never_ends, "context_shift": True}


def test_what_another_chat_says_meanwhile_is_another_branch(tmp_path: Path, endless: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with chat(tmp_path, generation=endless) as (app, pilot, store):
            await command(app, pilot, ASKED)
            await until(pilot, lambda: bool(store.sessions()) and len(store.branch(1)) == 2)
            await until(pilot, lambda: bool(store.branch(1)[1].content))
            with SessionStore(tmp_path / "sessions.db") as other:
                other.add(1, None, "user", "Something else")
            await pilot.press("escape")
            await answered(app, pilot)
            assert app.chat.talk is not None
            assert [m.role for m in app.chat.talk.messages] == ["user", "assistant"]
            await command(app, pilot, "And then?")
            await until(pilot, lambda: [m.content for m in store.branch(1)][::2] == [ASKED, "And then?"])

    asyncio.run(scenario())


@pytest.mark.parametrize("writing", [False, True])
def test_a_session_that_another_chat_deletes_is_told_of(
    tmp_path: Path, endless: dict[str, Any], writing: bool
) -> None:
    async def scenario() -> None:
        async with chat(tmp_path, **({"generation": endless} if writing else {})) as (app, pilot, store):
            await command(app, pilot, ASKED)
            await until(pilot, lambda: len(app.chat.query(AnswerView)) == 1)
            if writing:
                await until(pilot, lambda: bool(store.branch(1)[1].content))
            else:
                await answered(app, pilot)
            with SessionStore(tmp_path / "sessions.db") as other:
                other.delete(1)
            if writing:
                await until(pilot, lambda: "this session was deleted" in told(app))
                await until(pilot, lambda: not app.chat.is_answering)
            app.clear_notifications()
            await command(app, pilot, "And then?")
            await until(pilot, lambda: "this session was deleted" in told(app))
            assert app.chat.query_one(Prompt).text == "And then?"
            app.clear_notifications()
            app.chat.query(AnswerView).last().focus()
            await pilot.press("left")
            await until(pilot, lambda: "this session was deleted" in told(app))

    asyncio.run(scenario())


def test_another_model_goes_on_with_all_of_an_answer_that_it_ends(
    tmp_path: Path, endless: dict[str, Any]
) -> None:
    async def scenario() -> None:
        async with chat(tmp_path, generation=endless) as (app, pilot, store):
            await command(app, pilot, ASKED)
            await until(pilot, lambda: len(app.chat.query(AnswerView)) == 1)
            await until(pilot, lambda: bool(store.branch(1)[1].content))
            await command(app, pilot, "/model edgeinfer-nano")
            await until(
                pilot, lambda: app.chat.talk is not None and app.chat.talk.model.name == "edgeinfer-nano"
            )
            assert app.chat.talk is not None
            assert app.chat.talk.messages == store.branch(1)
            assert store.branch(1)[1].finish == "cancelled"

    asyncio.run(scenario())


def test_deleting_the_session_that_is_answered_ends_the_answer(
    tmp_path: Path, endless: dict[str, Any]
) -> None:
    async def scenario() -> None:
        async with chat(tmp_path, generation=endless) as (app, pilot, store):
            await command(app, pilot, ASKED)
            await until(pilot, lambda: bool(store.sessions()) and len(store.branch(1)) == 2)
            await pilot.press("f2")
            await opened(app, pilot, SessionsScreen)
            await pilot.press("ctrl+d", "ctrl+d", "escape")
            await until(pilot, lambda: not app.chat.query(AnswerView))
            assert not store.sessions()
            assert "cannot" not in told(app)
            assert "was deleted" not in told(app)

    asyncio.run(scenario())


def test_keys_that_come_twice_do_their_work_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, store):
            await say(app, pilot, ASKED)
            view = app.chat.query(AnswerView).last()
            view.action_ask("regenerate")
            view.action_ask("regenerate")
            await until(pilot, lambda: len(store.siblings(1, store.branch(1)[1])) == 3)
            await until(pilot, lambda: not app.chat.is_answering)
            await say(app, pilot, "And then?")
            app.chat.query(QuestionView).last().focus()
            await pilot.press("e")
            app.chat.query(AnswerView).first().focus()
            await pilot.press("left")
            await until(pilot, lambda: app.chat.query_one(Prompt).is_blank)  # what it is of is not shown
            await command(app, pilot, "Hello")
            await until(pilot, lambda: store.branch(1)[-2].content == "Hello")

    asyncio.run(scenario())
