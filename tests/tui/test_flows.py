"""What people do in a chat beside asking, and what goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from pathlib import Path

import pytest
from chatting import ASKED, answered, chat, command, opened, say, shown, told, until
from textual.events import Key, Paste
from textual.widgets import Input, OptionList, Static

import edgeinfer.loading
from edgeinfer.errors import DiskError
from edgeinfer.hub.names import find_model
from edgeinfer.sessions.store import SessionStore
from edgeinfer.tui.screens.help import HelpScreen
from edgeinfer.tui.screens.models import ModelsScreen
from edgeinfer.tui.screens.sessions import SessionsScreen
from edgeinfer.tui.widgets.message import AnswerView, QuestionView
from edgeinfer.tui.widgets.prompt import Prompt
from edgeinfer.tui.widgets.suggestions import Suggestions
from edgeinfer.tui.widgets.transcript import Transcript

HOSTILE = "\x1b]52;c;aGk=\x07 \x1b[31m [@click=app.quit]x[/] [bold]b[/bold] \u202egnp.exe [link=file:///]y[/]"


def test_large_texts_and_files_go_along_folded(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "notes.txt").write_text("The sky is green.\n")
        (tmp_path / "data.bin").write_bytes(b"\x00\xff\x80")
        async with chat(tmp_path) as (app, pilot, store):
            prompt = app.chat.query_one(Prompt)
            prompt.post_message(Paste("word word\n" * 100_000))
            await until(pilot, lambda: "100,000 lines" in str(prompt.border_title))
            assert prompt.text == ""
            await pilot.press("backspace")
            assert str(prompt.border_title) == ""
            await command(app, pilot, "/attach notes.txt")
            await until(pilot, lambda: "notes.txt 18 B, 1 line" in str(prompt.border_title))
            await command(app, pilot, "/attach data.bin")
            await until(pilot, lambda: "is no text" in told(app))
            await say(app, pilot, "What is green? @notes.txt")
            [question, answer] = store.branch(1)
            assert [a.name for a in question.attachments] == ["notes.txt"]
            assert "The sky is green." in question.told
            assert answer.cost["prompt_tokens"] > 40
            app.chat.query_one(QuestionView).focus()
            await pilot.press("e")
            assert "notes.txt" in str(prompt.border_title)

    asyncio.run(scenario())


def test_keys_count_in_the_order_in_which_they_were_typed(tmp_path: Path) -> None:
    """However many come at once, as while something is drawn or over a slow line."""

    async def scenario() -> None:
        async with chat(tmp_path, opens=False) as (app, pilot, _):
            prompt = app.chat.query_one(Prompt)
            for key in ("a", "b", "backspace", "c", "left", "d", "end", "backspace", "e"):
                app.post_message(Key(key, key if len(key) == 1 else None))
            await until(pilot, lambda: "e" in prompt.text)
            await pilot.pause()
            assert prompt.text == "ade"

    asyncio.run(scenario())


def test_what_is_searched_for_is_what_enter_opens(tmp_path: Path) -> None:
    """Also when it comes at once behind the letters."""

    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, store):
            for title in ("first", "second"):
                id = store.create("edgeinfer-tiny").id
                store.add(id, None, "user", title)
                store.update(id, title=title)
            await pilot.press("f2")
            await opened(app, pilot, SessionsScreen)
            for key in (*"first", "enter"):
                app.post_message(Key(key, key if len(key) == 1 else None))
            await until(pilot, lambda: app.screen is app.chat)
            await until(pilot, lambda: "first" in shown(app).partition("\n")[0])
            await pilot.press("f3")
            await opened(app, pilot, ModelsScreen)
            await until(pilot, lambda: app.screen.query_one(OptionList).option_count > 1)
            for key in (*"nano", "enter"):
                app.post_message(Key(key, key if len(key) == 1 else None))
            await until(pilot, lambda: "edgeinfer-nano" in shown(app).partition("\n")[0])

    asyncio.run(scenario())


def test_a_prompt_that_is_too_long_is_told_in_its_place(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, store):
            app.chat.query_one(Prompt).post_message(Paste("word word\n" * 100_000))
            await pilot.press("enter")
            await until(pilot, lambda: len(app.chat.query(AnswerView)) == 1)
            await answered(app, pilot)
            await until(pilot, lambda: "context" in shown(app))
            assert store.branch(1)[1].finish == "error"
            await pilot.press("ctrl+n")
            assert "edgeinfer pull" in await say(app, pilot, ASKED)

    asyncio.run(scenario())


def test_answers_are_shown_as_they_are_when_they_are_opened_again(tmp_path: Path) -> None:
    """However they were cut while they grew."""
    text = (
        "Text.\n\n"
        + "".join(f"- item **{i}** of `many`, with words after it\n" for i in range(30))
        + "\n```python\nx = 1\n```\nEnd."
    )

    async def scenario() -> None:
        async with chat(tmp_path, size=(80, 60)) as (app, pilot, store):
            assert app.chat.talk is not None
            talk = app.chat.talk
            talk.say("?")
            view = await app.chat.query_one(Transcript).add(talk)
            message = talk.begin_answer()
            view = await app.chat.query_one(Transcript).add(talk)
            assert isinstance(view, AnswerView)
            for start in range(0, len(text), 31):
                view.grow(text[start : start + 31], "")
                await asyncio.sleep(0.02)
            store.append(message.id, text)
            await view.end(store.finish(message.id, "stop", {}), (1, 1))
            await until(pilot, lambda: "item 29 of many" in shown(app) and "End." in shown(app))
            await pilot.pause(0.5)
            grown = shown(app).partition("\n")[2]
            assert "x = 1" in grown
            await app.open_session(store.session(1))
            await until(pilot, lambda: shown(app).partition("\n")[2] == grown)
            await pilot.press("f8")
            await until(pilot, lambda: app.clipboard == "x = 1\n")

    asyncio.run(scenario())


def test_selected_text_is_as_it_was_written(tmp_path: Path) -> None:
    text = f"1. {'word ' * 60}end\n\n```\n{'code ' * 60}\n```\n"

    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, store):
            session = store.create("edgeinfer-tiny")
            asked = store.add(session.id, None, "user", ASKED)
            store.finish(store.add(session.id, asked.id, "assistant", text).id, "stop", {})
            await app.open_session(store.session(session.id))
            await pilot.pause()
            app.chat.query_one(AnswerView).text_select_all()
            await pilot.pause()
            selected = app.chat.get_selected_text() or ""
            assert f"1. {'word ' * 60}end\n" in selected
            assert "\n" + "code " * 60 in selected

    asyncio.run(scenario())


def test_strangers_text_is_shown_and_never_obeyed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, store):
            session = store.create(HOSTILE)
            asked = store.add(session.id, None, "user", HOSTILE)
            answer = store.add(session.id, asked.id, "assistant", "")
            store.append(answer.id, HOSTILE, HOSTILE)
            store.finish(answer.id, "error", {"error": HOSTILE, "hint": HOSTILE})
            store.update(session.id, title=HOSTILE)
            await app.open_session(store.session(session.id))
            app.tell_error(DiskError(HOSTILE, hint=HOSTILE))
            await pilot.pause(0.3)
            for key in ("f2", "escape", "f3", "escape"):
                assert not {"\x1b", "\x07", "\u202e"} & set(shown(app))
                assert "[@click=app.quit]" in shown(app) or key == "escape"
                await pilot.press(key)
                await pilot.pause(0.3)

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [(60, 20), (39, 9), (1, 1)])
def test_small_terminals_are_told_or_used(tmp_path: Path, size: tuple[int, int]) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, _):
            await pilot.resize_terminal(*size)
            await pilot.resize_terminal(100, 30)
            await pilot.press("x")
            await until(pilot, lambda: app.chat.query_one(Prompt).text == "x")
            await pilot.press("backspace")
            await pilot.resize_terminal(*size)
            for key in ("f5", "f1", "escape", "f2", "escape", "f4", "escape"):
                await pilot.press(key)
                await pilot.pause(0.05)
            if size == (39, 9):
                assert "at least 40 x 10" in shown(app)
            await pilot.resize_terminal(100, 30)
            assert "edgeinfer pull" in await say(app, pilot, ASKED)

    asyncio.run(scenario())


def test_a_model_that_cannot_be_opened_leads_to_those_that_can(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "broken.gguf").write_bytes(b"GGUF nonsense")
        async with chat(tmp_path, opens=False, name="broken.gguf") as (app, pilot, _):
            await opened(app, pilot, ModelsScreen)
            assert "broken.gguf" in str(app.screen.query_one(".problem", Static).content)
            await until(pilot, lambda: app.screen.query_one(OptionList).highlighted is not None)
            await pilot.press("enter")
            await until(pilot, lambda: app.chat.talk is not None)
            assert "edgeinfer pull" in await say(app, pilot, ASKED)
            await command(app, pilot, "/model edgeinfer-nano")
            await until(pilot, lambda: app.chat.talk.model.name == "edgeinfer-nano")
            assert len(app.chat.query(AnswerView)) == 1  # the conversation goes on

    asyncio.run(scenario())


def test_sessions_are_renamed_saved_and_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, store):
            await say(app, pilot, ASKED)
            await pilot.press("f2")
            await opened(app, pilot, SessionsScreen)
            await pilot.press("ctrl+r")
            app.screen.query_one("#rename", Input).value = "Another title"
            await pilot.press("enter")
            assert store.session(1).title == "Another title"
            await pilot.press("ctrl+s")
            assert ASKED in (tmp_path / "conversation-1.md").read_text()
            await pilot.press("ctrl+d", "ctrl+d")
            assert app.screen.query_one(OptionList).option_count == 0
            await pilot.press("escape")
            await until(pilot, lambda: not app.chat.query(AnswerView))
            assert "edgeinfer pull" in await say(app, pilot, ASKED)

    asyncio.run(scenario())


def test_a_full_disk_is_told_once_and_the_chat_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, store):
            first = await say(app, pilot, ASKED)
            store._db.execute("PRAGMA max_page_count = 1")  # as much as SQLite says of a full disk
            for i in range(40):
                store.prefer(f"filler {i}", "x" * 4096)
            await say(app, pilot, "And then?")
            await until(pilot, lambda: "lost at the end" in told(app))
            await say(app, pilot, "And then?")
            assert told(app).count("lost at the end") == 1
            assert store.branch(1)[1].content == first
        kept = sqlite3.connect(tmp_path / "sessions.db").execute("SELECT content FROM messages").fetchall()
        assert (first,) in kept

    asyncio.run(scenario())


def test_quitting_within_an_answer_keeps_it(tmp_path: Path) -> None:
    never_ends = dict.fromkeys(edgeinfer.loading.load_tokenizer().eog_ids, -float("inf"))

    async def scenario() -> None:
        endless = {"logit_bias": never_ends, "context_shift": True}
        async with chat(tmp_path, generation=endless) as (app, pilot, store):
            await pilot.press(*ASKED, "enter")
            await until(pilot, lambda: bool(store.sessions()) and bool(store.branch(1)[-1].content))
            await pilot.press("ctrl+q")
            assert store.branch(1)[-1].finish == "cancelled"
        assert app.bug is None

    asyncio.run(scenario())


def test_a_restart_goes_on_with_the_keys_and_values_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEINFER_KV_DISK_BYTES", str(1 << 30))

    async def scenario() -> None:
        async with chat(tmp_path, system="You help. " * 60, generation={"max_tokens": 20}) as (app, pilot, _):
            await say(app, pilot, ASKED)
        async with chat(tmp_path, session=1, generation={"max_tokens": 5}) as (app, pilot, store):
            await say(app, pilot, "And then?")
            assert store.branch(1)[-1].cost["cached_tokens"] > 200

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40)])
def test_the_engine_tells_all_on_terminals_of_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async def scenario() -> None:
        async with chat(tmp_path, size=size) as (app, pilot, _):
            await pilot.press("f5")
            await until(pilot, lambda: "native" in shown(app))
            await say(app, pilot, ASKED)
            await say(app, pilot, "And then?")
            told = (
                *(r"[1-9]\d* at most", r"first +\d+(\.\d)? m?s +\d", r"next +\d+(\.\d)? m?s +\d"),
                *("0 in the batch, 0 waiting", r"Prompts \d+ % of \d+ cached", r"\u25aa [1-9]\d* kept"),
                *(r"\u00b7{20}", r"\u00b7 \d+ free", "native", r"\d [MG]iB resident", r"GiB\s+free"),
            )
            await until(pilot, lambda: all(re.search(line, shown(app)) for line in told))

    asyncio.run(scenario())


def test_the_theme_is_what_the_person_chose(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, _):
            await say(app, pilot, ASKED)
            app.theme = "high-contrast"
            await pilot.pause(0.1)
        async with chat(tmp_path) as (app, pilot, _):
            assert app.theme == "high-contrast"

    asyncio.run(scenario())


def test_a_damaged_file_of_sessions_is_told(tmp_path: Path) -> None:
    (tmp_path / "sessions.db").write_bytes(b"SQLite format 3\0" + b"nonsense" * 500)

    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, _):
            await until(pilot, lambda: "damaged" in told(app))
            assert "edgeinfer pull" in await say(app, pilot, ASKED)

    asyncio.run(scenario())


def test_sessions_can_be_kept_in_memory_alone() -> None:
    with SessionStore.in_memory(DiskError("full")) as store:
        session = store.create("tiny")
        store.add(session.id, None, "user", "What?")
        assert [s.id for s in store.sessions()] == [session.id]
        assert store.failure is not None


def test_commands_and_paths_are_suggested_and_taken(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("The sky is green.\n")
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "n\x1b[31m.txt").write_text("x")

    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, store):
            prompt, suggested = app.chat.query_one(Prompt), app.chat.query_one(Suggestions)
            await pilot.press("slash")
            await until(pilot, lambda: suggested.display and suggested.option_count == 10)
            await pilot.press(*"set", "tab")
            await until(pilot, lambda: prompt.text == "/set " and suggested.option_count > 10)
            await pilot.press(*"temp", "tab")
            await until(pilot, lambda: prompt.text == "/set temperature " and not suggested.display)
            await pilot.press("0", "enter")
            await until(pilot, lambda: store.session(1).parameters == {"temperature": 0})
            await pilot.press(*"/mo")
            await until(pilot, lambda: "choose one" in shown(app))
            await pilot.press("escape", *"del edgeinfer-na")
            await until(pilot, lambda: suggested.display)
            await pilot.press("enter")
            await until(pilot, lambda: app.chat.talk.model.name == "edgeinfer-nano")
            await pilot.press("x", "ctrl+c", *"See @no")
            await until(pilot, lambda: suggested.display)
            await pilot.press("tab")
            await until(pilot, lambda: prompt.text == "See @notes.txt ")
            await pilot.press(*"@a")
            await until(pilot, lambda: suggested.display)
            await pilot.press("tab")
            await until(
                pilot, lambda: prompt.text == 'See @notes.txt @"a folder/' and "n\\x1b[31m" in shown(app)
            )
            await pilot.press("escape")
            await until(pilot, lambda: not suggested.display)
            await pilot.press("up", "up", "up")  # cleared, and sent: suggested or not
            await until(pilot, lambda: prompt.text == "/set temperature 0" and not suggested.display)

    asyncio.run(scenario())


def test_keys_that_fingers_know(tmp_path: Path) -> None:
    never_ends = dict.fromkeys(edgeinfer.loading.load_tokenizer().eog_ids, -float("inf"))
    endless = {"temperature": 0.0, "logit_bias": never_ends, "context_shift": True}

    async def scenario() -> None:
        async with chat(tmp_path, generation=endless) as (app, pilot, store):
            prompt = app.chat.query_one(Prompt)
            await pilot.press("question_mark")
            await until(pilot, lambda: isinstance(app.screen, HelpScreen))
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.chat)
            await pilot.press("W", "question_mark", "ctrl+c")  # within a text it is a letter; Ctrl+C clears
            assert prompt.text == ""
            await pilot.press("up", "ctrl+d")
            assert prompt.text == "W?"
            await pilot.press("enter")
            await until(pilot, lambda: bool(store.sessions()) and bool(store.branch(1)[-1].content))
            await pilot.press("ctrl+c")  # stops
            await until(pilot, lambda: store.branch(1)[-1].finish == "cancelled")
            await until(pilot, lambda: not app.chat.is_answering)
            await pilot.press("delete")  # is no Ctrl+D
            await pilot.press("ctrl+c")
            assert "Ctrl+C again ends" in told(app)
            await pilot.press("ctrl+c")
            await until(pilot, lambda: not app.is_running)
        async with chat(tmp_path) as (app, pilot, store):
            await pilot.press("up")  # in another session too
            assert app.chat.query_one(Prompt).text == "W?"
            await pilot.press("ctrl+c", "ctrl+d")
            await until(pilot, lambda: not app.is_running)

    asyncio.run(scenario())


def test_an_engine_that_fails_within_an_answer_is_told_in_its_place(tmp_path: Path) -> None:
    """The model's file is cut while it answers: what it said stays, and another model goes on."""
    model = tmp_path / "soon-cut.gguf"
    model.write_bytes(find_model("edgeinfer-tiny").read_bytes())
    never_ends = dict.fromkeys(edgeinfer.loading.load_tokenizer().eog_ids, -float("inf"))
    endless = {"temperature": 0.0, "logit_bias": never_ends, "context_shift": True}

    async def scenario() -> None:
        async with chat(tmp_path, name=str(model), generation=endless) as (app, pilot, store):
            await command(app, pilot, ASKED)
            await until(pilot, lambda: bool(store.sessions()) and bool(store.branch(1)[-1].content))
            os.truncate(model, 4096)
            await until(pilot, lambda: "on disk while it was in use" in shown(app))
            answer = store.branch(1)[-1]
            assert answer.finish == "error"
            assert answer.content
            await command(app, pilot, "/model edgeinfer-tiny")
            await until(pilot, lambda: app.chat.talk.model.name == "edgeinfer-tiny")
            await command(app, pilot, "/clear")
            await until(pilot, lambda: not app.chat.query(AnswerView))
            await command(app, pilot, "/set max_tokens 5")
            assert await say(app, pilot, ASKED)

    asyncio.run(scenario())


def test_the_mouse_does_what_keys_do(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with chat(tmp_path) as (app, pilot, _):
            prompt = app.chat.query_one(Prompt)
            await pilot.press("slash")
            await until(pilot, lambda: app.chat.query_one(Suggestions).display)
            await pilot.click(Suggestions, offset=(5, 2))
            await until(pilot, lambda: prompt.text == "/attach ")
            await pilot.press("f3")
            await opened(app, pilot, ModelsScreen)
            await until(pilot, lambda: app.screen.query_one(OptionList).option_count > 2)
            await pilot.click(OptionList, offset=(5, 2))
            await until(pilot, lambda: app.chat.talk.model.name == "edgeinfer-nano")
            assert prompt.text == "/attach "

    asyncio.run(scenario())
