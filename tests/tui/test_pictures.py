"""Pictures of the screens, as SVG: look at them where one changes. WRITE_PICTURES=1 writes them anew.

Not by pytest-textual-snapshot: that takes a picture once, where ours waits until two are alike, and keeps the
font and the frame of a window in each; without those a picture has a third of the bytes.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from chatting import chat, shown, until
from textual import __version__ as textual_version
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from edgeinfer.backends.base import KvUse
from edgeinfer.chat_model import Report
from edgeinfer.engine.stats import Spread, Stats
from edgeinfer.errors import DiskError
from edgeinfer.machine import Memory
from edgeinfer.sessions.store import SessionStore
from edgeinfer.tui import expecting
from edgeinfer.tui.app import ChatApp
from edgeinfer.tui.choices import Choice, Outlook
from edgeinfer.tui.expecting import Expected, Found
from edgeinfer.tui.screens import models as models_screen
from edgeinfer.tui.screens.pull import PullScreen
from edgeinfer.tui.widgets.engine_panel import EnginePanel
from edgeinfer.tui.widgets.message import AnswerView

ANSWER = """Here is **how** it is done:

```python
def fib(n: int) -> int:
    # the slow way
    return n if n < 2 else fib(n - 1) + fib(n - 2)
```

1. first `one`
2. second, a longer item that wraps around somewhere when the terminal is narrow

| name | size |
|---|---|
| tiny | 8 MB |
"""
COST = {"completion_tokens": 120, "tokens_per_s": 55.2, "first_token_s": 0.21, "prompt_tokens": 1300} | {
    "cached_tokens": 1200,
    "reasoning_tokens": 6,
}
PICTURES = Path(__file__).parent / "pictures"
MADE_WITH = "8.2.8"  # another Textual draws a little differently
SIZES = ((60, 20), (80, 24), (120, 40))
THEMES = ("textual-dark", "textual-light")
GIB = 1 << 30
LONG_NAME = "someone/a-model-with-a-long-name-GGUF:Q4_K_M"
NOON = 1_700_049_600.0  # UTC

Show = Callable[[ChatApp, Pilot[None], SessionStore], Awaitable[None]]


async def show_chat(app: ChatApp, pilot: Pilot[None], store: SessionStore) -> None:
    session = store.create("edgeinfer-tiny")
    asked = store.add(session.id, None, "user", "Show me some code, please.")
    answer = store.add(session.id, asked.id, "assistant", "")
    store.append(answer.id, ANSWER, "Let me think about it.")
    store.finish(answer.id, "stop", COST)
    store.update(session.id, title="Show me some code, please.")
    await app.open_session(store.session(session.id))


async def show_greeting(app: ChatApp, pilot: Pilot[None], store: SessionStore) -> None:
    """Nothing was said."""
    await until(pilot, lambda: "edgeinfer import FILE" in shown(app))


async def show_reasoning(app: ChatApp, pilot: Pilot[None], store: SessionStore) -> None:
    await show_chat(app, pilot, store)
    app.chat.query_one(AnswerView).focus()
    await pilot.press("t")


async def show_failure(app: ChatApp, pilot: Pilot[None], store: SessionStore) -> None:
    session = store.create("edgeinfer-tiny")
    asked = store.add(session.id, None, "user", "What is in all of these files?")
    answer = store.add(session.id, asked.id, "assistant", "")
    store.append(answer.id, "I begin with")
    hint = "free memory, or open the model again with a smaller context"
    store.finish(answer.id, "error", {"error": "the engine ended in the middle of it", "hint": hint})
    store.update(session.id, title="What is in all of these files?")
    await app.open_session(store.session(session.id))
    app.tell_error(DiskError("cannot write notes.md: No space left on device", hint="free some disk space"))


async def reported() -> Report:
    return REPORT


async def show_engine(app: ChatApp, pilot: Pilot[None], store: SessionStore) -> None:
    await show_chat(app, pilot, store)
    panel = app.chat.query_one(EnginePanel)
    panel.model = SimpleNamespace(report=reported)  # type: ignore[assignment]
    panel._before = None
    panel._speeds.extend(55 + i % 7 if i % 60 < 25 else 0.0 for i in range(panel._speeds.maxlen or 0))
    await pilot.press("f5")


async def show_sessions(app: ChatApp, pilot: Pilot[None], store: SessionStore) -> None:
    for i, title in enumerate(("How do I download a model?", "A poem about rain", "x" * 100)):
        session = store.create("edgeinfer-tiny" if i else LONG_NAME)
        store.add(session.id, None, "user", title)
        store.update(session.id, title=title)
        store._db.execute("UPDATE sessions SET updated_at = ? WHERE id = ?", (NOON + i * 86400, session.id))
    await pilot.press("f2")


async def show_models(app: ChatApp, pilot: Pilot[None], store: SessionStore) -> None:
    await pilot.press("f3")


async def show_pull(app: ChatApp, pilot: Pilot[None], store: SessionStore) -> None:
    screen = PullScreen("someone/nothing-GGUF:Q4_K_M")
    app.push_screen(screen)
    await until(pilot, lambda: screen._fetch.error is not None)


def show_key(key: str) -> Show:
    async def show(app: ChatApp, pilot: Pilot[None], store: SessionStore) -> None:
        await pilot.press(key)

    return show


SCREENS: dict[str, Show] = {
    "chat": show_chat,
    "engine": show_engine,
    "models": show_models,
    "greeting": show_greeting,
    "reasoning": show_reasoning,
    "failure": show_failure,
    "sessions": show_sessions,
    "pull": show_pull,
    "help": show_key("f1"),
    "parameters": show_key("f4"),
    "palette": show_key("ctrl+p"),
    "suggestions": show_key("slash"),
}
EVERYWHERE = ("chat", "engine", "models")  # in all sizes and both themes

SPREAD = Spread(0.0182, 0.0201, 0.0255, 9.9, (), ())
FIRST = Spread(0.21, 0.23, 1.24, 9.9, (), ())
STATS = Stats(
    **dict.fromkeys(("n_waiting", "n_kept", "n_kept_tokens", "n_evicted", "n_paused", "n_steps"), 0),
    **dict.fromkeys(("queue", "whole", "step", "step_sequences"), SPREAD),  # type: ignore[arg-type]
    n_running=1,
    n_ended={},
    n_prompt=1300,
    n_cached=1200,
    n_generated=120,
    n_saved=2048,
    n_loaded=1024,
    save_error=None,
    step_s=1.0,
    capacity=4096,
    room=1000,
    block_tokens=32,
    kv=KvUse(12, 38, 27, 180),
    first_token=FIRST,
    between_tokens=SPREAD,
)
REPORT = Report("native avx2, 4 threads, f16 KV", STATS, 3 * GIB, Memory(16 * GIB, 9 * GIB))
FACTS = "qwen3 \u00b7 Q4_K_M \u00b7 context 40,960 \u00b7 Apache-2.0 \u00b7 Qwen/Qwen3-4B-GGUF"
FITS = "fits: about 3.5 GiB of 9.0 GiB free at 8192 tokens of context, about 12 tokens/s, prompts 80"
MODELS = [
    (Choice("edgeinfer-tiny", 8 << 20, "in the package", Path("x")), Outlook("fits", FITS, FACTS, 2000.0)),
    (Choice(LONG_NAME, 8 * GIB, "huggingface", Path("x")), Outlook("tight", FITS, FACTS, 4.2)),
    (Choice("mamba:1b", 700 << 20, "ollama", Path("x")), Outlook("cannot run", "no", "mamba")),
    (Choice("qwen3:4b", 2 * GIB, "Qwen/Qwen3-4B-GGUF"), Outlook("fits", FITS, FACTS, 12.0)),
    (Choice("qwen3:32b", 19 * GIB, "Qwen/Qwen3-32B-GGUF"), Outlook("does not fit", FITS, FACTS, 1.0)),
]


class FixedExpectations:
    """The same models on every machine."""

    def __init__(self, post: Callable[[Any], object], may_measure: Callable[[], bool]) -> None:
        post(Found([choice for choice, _ in MODELS]))
        for choice, expected in MODELS:
            post(Expected(choice, expected))

    def stop(self) -> None:
        """There is nothing to stop."""


@pytest.fixture(autouse=True)
def _alike_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EnginePanel, "on_mount", lambda panel: None)  # it looks only when it is opened
    monkeypatch.setattr(expecting, "Expectations", FixedExpectations)
    monkeypatch.setattr(models_screen, "suggested", lambda found: [MODELS[3][0]])
    monkeypatch.setenv("EDGEINFER_OFFLINE", "1")
    monkeypatch.setenv("TZ", "UTC")


@pytest.mark.skipif(textual_version != MADE_WITH, reason=f"made with Textual {MADE_WITH}")
@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_looks_as_it_did(tmp_path: Path, screen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if screen == "models":
        monkeypatch.delenv("EDGEINFER_OFFLINE")
    pictures = asyncio.run(pictures_of(tmp_path, screen))
    if os.environ.get("WRITE_PICTURES"):
        for name, picture in pictures.items():
            (PICTURES / name).write_text(picture)
    changed = [name for name, picture in pictures.items() if picture != (PICTURES / name).read_text()]
    assert changed == []


async def pictures_of(folder: Path, screen: str) -> dict[str, str]:
    """By file name."""
    wanted = [(SIZES[1], THEMES[0])]
    if screen in EVERYWHERE:
        wanted = [(size, theme) for size in SIZES for theme in THEMES]
    if screen == "chat":
        wanted.append((SIZES[1], "high-contrast"))
    taken = {}
    async with chat(folder, size=wanted[0][0], notifications=True) as (app, pilot, store):
        app.theme = wanted[0][1]
        await SCREENS[screen](app, pilot, store)
        for (width, height), theme in wanted:
            app.theme = theme
            await pilot.resize_terminal(width, height)
            name = f"{screen}-{width}x{height}-{theme.removeprefix('textual-')}.svg"
            taken[name] = small(await picture_of(app, pilot))
    return taken


async def picture_of(app: ChatApp, pilot: Pilot[None]) -> str:
    """Once all of it is drawn."""
    for line in (*app.screen.query(TextArea), *app.screen.query(Input)):
        line.cursor_blink = False
    before, picture = "", "-"
    while picture != before:
        await pilot.pause(0.2)
        before, picture = picture, app.export_screenshot(simplify=True)
    return picture


def small(picture: str) -> str:
    """Without the frame, the fonts, what clips nothing, and numbers that are new each time."""
    picture = re.sub(r"terminal-\d+-?", "t", picture)
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    picture = re.sub(r'<clipPath id="tline.*?</clipPath>', "", picture, flags=re.DOTALL)
    picture = re.sub(r' clip-path="url\(#tline-?\d+\)"', "", picture)
    picture = re.sub(r' textLength="[\d.]+"| shape-rendering="crispEdges"', "", picture)
    picture = picture.replace("<style>", "<style>rect { shape-rendering: crispEdges }", 1)
    return re.sub(r"\n\s*\n+", "\n", picture)
