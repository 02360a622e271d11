"""`edgeinfer chat` through Textual's pilot: the real engine, the bundled tiny model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.events import Paste
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

import edgeinfer
from edgeinfer.sessions.store import SessionStore
from edgeinfer.tui.app import ChatApp
from edgeinfer.tui.source import ThisProcess
from edgeinfer.tui.widgets.message import AnswerView
from edgeinfer.tui.widgets.prompt import Prompt

ASKED = "How do I download a model?"


@asynccontextmanager
async def chat(
    folder: Path, *, opens: bool = True, **options: Any
) -> AsyncIterator[tuple[ChatApp, Pilot[None], SessionStore]]:
    """The app, once its model is open."""
    settings: dict[str, Any] = {
        "generation": {"temperature": 0.0},
    }
    size, name = options.pop("size", (100, 30)), options.pop("name", None)
    source = options.pop("source", None) or ThisProcess(lambda name: edgeinfer.load(name, threads=1))
    notifications = options.pop("notifications", False)
    with SessionStore(folder / "sessions.db") as store:
        app = ChatApp(store, source, name, **{**settings, **options})
        try:
            async with app.run_test(size=size, notifications=notifications) as pilot:
                if opens:
                    await until(pilot, lambda: is_open(app))
                yield app, pilot, store
        finally:
            app.close_model()


def is_open(app: ChatApp) -> bool:
    """Whether a conversation is shown, to the last line."""
    return app.chat.talk is not None and not app.chat.query_one("#status").display


async def until(pilot: Pilot[None], happened: Callable[[], bool]) -> None:
    for _ in range(400):
        if happened():
            return
        await pilot.pause(0.025)
    raise AssertionError("it did not happen within ten seconds")


async def say(app: ChatApp, pilot: Pilot[None], text: str) -> str:
    """What the model answers."""
    before = len(app.chat.query(AnswerView))
    await command(app, pilot, text)
    await until(pilot, lambda: len(app.chat.query(AnswerView)) > before)
    await answered(app, pilot)
    return app.chat.query(AnswerView).last().message.content


async def answered(app: ChatApp, pilot: Pilot[None]) -> None:
    await until(pilot, lambda: all(view.message.finish is not None for view in app.chat.query(AnswerView)))


async def command(app: ChatApp, pilot: Pilot[None], text: str) -> None:
    """Written and sent."""
    app.chat.query_one(Prompt).post_message(Paste(text))
    await pilot.press("enter")


async def opened(app: ChatApp, pilot: Pilot[None], screen: type[Screen[Any]]) -> None:
    """That screen is there, with a line to write in."""
    await until(pilot, lambda: isinstance(app.screen, screen) and isinstance(app.focused, Input))


def shown(app: ChatApp) -> str:
    """All text of the screen."""
    strips = app.screen._compositor.render_strips(app.size)
    return "\n".join(strip.text for strip in strips)


def told(app: ChatApp) -> str:
    """All notifications."""
    return " ".join(f"{note.title} {note.message}" for note in app._notifications)
