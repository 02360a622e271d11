"""Models in the chat: what is here, what can be fetched, what to expect of each; a pull, a first start."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest
from chatting import ASKED, chat, command, opened, say, shown, told, until
from fake_hub import REPO, FakeHub, Fault
from stores import copy, in_the_cache
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from edgeinfer import machine
from edgeinfer.bench.speed import stored_speed
from edgeinfer.machine import Memory
from edgeinfer.tui.app import ChatApp
from edgeinfer.tui.screens.models import ModelsScreen
from edgeinfer.tui.screens.pull import PullScreen

NAME = f"{REPO}:Q8_0"
GIB = 1 << 30


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of memory that are free: the last one of these."""
    bytes_free = [6 * GIB]
    monkeypatch.setattr(machine, "memory", lambda: Memory(16 * GIB, bytes_free[-1]))
    return bytes_free


def details(app: ChatApp) -> str:
    """What is told of the highlighted model."""
    return str(app.screen.query_one("#details", Static).content)


async def search(app: ChatApp, pilot: Pilot[None], words: str) -> None:
    """In the list of models."""
    if app.screen is app.chat:
        await pilot.press("f3")
        await opened(app, pilot, ModelsScreen)
    app.screen.query_one(Input).value = words


async def choose(app: ChatApp, pilot: Pilot[None], name: str) -> None:
    await search(app, pilot, name)
    await until(
        pilot, lambda: app.screen.query_one(OptionList).option_count > 0 or "Enter asks" in shown(app)
    )
    await pilot.press("enter")


@pytest.mark.usefixtures("free")
def test_of_every_model_is_told_whether_it_fits_and_how_fast_it_will_be(
    home: Path, random_model: Path
) -> None:
    in_the_cache(home, "someone/sound-GGUF", "sound-Q8_0.gguf", random_model)
    (home / "strange.gguf").write_bytes(random_model.read_bytes().replace(b"\0llama", b"\0mamba", 1))
    in_the_cache(home, "someone/strange-GGUF", "strange-Q8_0.gguf", home / "strange.gguf")

    async def scenario() -> None:
        async with chat(home, size=(120, 60)) as (app, pilot, _):
            await pilot.press("f3")
            await opened(app, pilot, ModelsScreen)
            expected = (
                *(r"sound-GGUF:Q8_0 .*MiB +fits +\d+ t/s", r"\u25cf edgeinfer-tiny .*MiB +fits +\d+ t/s"),
                *(r"strange-GGUF:Q8_0 .*cannot run", r"qwen3:4b .*GiB +fits +\d+ t/s"),
                r"qwen3:14b .*GiB +does not fit",
            )
            await until(pilot, lambda: all(re.search(line, shown(app)) for line in expected))
            assert stored_speed() is not None  # it is not measured again
            await search(app, pilot, "qwen3:14b")
            await until(pilot, lambda: "about 9.9 GiB of 6.0 GiB free" in details(app))
            assert "Apache-2.0" in details(app)
            await search(app, pilot, "sound")
            await until(pilot, lambda: "llama" in details(app) and "parameters" in details(app))
            await search(app, pilot, "gemma4")
            await until(pilot, lambda: "edgeinfer cannot run these yet" in shown(app))
            assert app.screen.query_one(OptionList).highlighted is None  # not offered
            await choose(app, pilot, "sound")
            await until(pilot, lambda: "sound" in app.chat.talk.model.name)

    asyncio.run(scenario())


def test_names_of_strangers_are_shown_and_never_obeyed(home: Path, random_model: Path) -> None:
    copy(random_model, home / ".lmstudio/models/so\x1b[31mme/o\x07[bold]ne/x-Q8_0.gguf")

    async def scenario() -> None:
        async with chat(home, size=(120, 60)) as (app, pilot, _):
            await pilot.press("f3")
            await opened(app, pilot, ModelsScreen)
            await until(pilot, lambda: "so\\x1b[31mme/o\\x07[bold]ne" in shown(app))
            assert not {"\x1b", "\x07"} & set(shown(app))

    asyncio.run(scenario())


def test_a_first_start_says_what_answers_and_leads_to_what_fits(home: Path, free: list[int]) -> None:
    async def scenario() -> None:
        async with chat(home) as (app, pilot, _):
            await until(pilot, lambda: "It came with the program" in shown(app))
            [first, *_] = re.findall(r"^ +(\S+:\S+) +\d+\.\d GiB", shown(app), re.MULTILINE)
            await pilot.press("f3")
            await opened(app, pilot, ModelsScreen)
            await until(pilot, lambda: details(app).startswith("fits: about "))
            highlighted = app.screen.query_one(OptionList).highlighted_option
            assert highlighted is not None
            assert first in str(highlighted.prompt)
            assert "GiB of 6.0 GiB free" in details(app)

    asyncio.run(scenario())


def test_a_first_start_without_a_network_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEINFER_OFFLINE", "1")

    async def scenario() -> None:
        async with chat(home) as (app, pilot, _):
            await until(pilot, lambda: "Offline is switched on" in shown(app))
            await search(app, pilot, "qwen3:4b")
            await until(pilot, lambda: "Offline: these cannot be fetched" in shown(app))
            await pilot.press("enter")
            await until(pilot, lambda: "offline: " in shown(app))
            await pilot.press("escape")
            assert "edgeinfer pull" in await say(app, pilot, ASKED)

    asyncio.run(scenario())


def test_a_model_is_fetched_and_opened(home: Path, hub: FakeHub) -> None:
    async def scenario() -> None:
        async with chat(home) as (app, pilot, _):
            await choose(app, pilot, NAME)
            await until(pilot, lambda: "random" in app.chat.talk.model.name)

    asyncio.run(scenario())


def test_a_pull_tells_its_pace_and_goes_on_where_it_was_stopped(home: Path, hub: FakeHub) -> None:
    async def scenario() -> None:
        async with chat(home) as (app, pilot, _):
            hub.pause_s = 0.05
            await choose(app, pilot, NAME)
            await until(
                pilot, lambda: re.search(r"KiB of .* \u00b7 .*/s \u00b7 \d+ s left", shown(app)) is not None
            )
            assert re.search(r"fits: .* tokens\s+of\s+context", shown(app))  # exact, from its header
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.chat)
            hub.pause_s = 0.0
            await command(app, pilot, f"/model {NAME}")
            await until(pilot, lambda: "random" in app.chat.talk.model.name)
            assert hub.fetched[-1].start > 0

    asyncio.run(scenario())


def test_what_does_not_fit_is_fetched_only_with_a_word(home: Path, hub: FakeHub, free: list[int]) -> None:
    async def scenario() -> None:
        async with chat(home) as (app, pilot, _):
            free.append(30 << 20)
            await choose(app, pilot, NAME)
            await until(pilot, lambda: "It does not fit: " in shown(app))
            assert hub.fetched == []
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.chat)
            await choose(app, pilot, NAME)
            await until(pilot, lambda: "It does not fit: " in shown(app))
            await pilot.press("enter")
            await until(pilot, lambda: "are available" in told(app))
            assert len(hub.fetched) == 1

    asyncio.run(scenario())


def test_what_cannot_run_is_not_fetched(home: Path, hub: FakeHub) -> None:
    hub.architecture = "gemma4"

    async def scenario() -> None:
        async with chat(home) as (app, pilot, _):
            await choose(app, pilot, NAME)
            await until(pilot, lambda: "a gemma4 model, which edgeinfer does not run yet" in shown(app))
            assert hub.fetched == []

    asyncio.run(scenario())


def test_a_pull_that_fails_says_what_to_do_and_is_tried_again(
    home: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(home)

    async def scenario() -> None:
        async with chat(home, size=(120, 40)) as (app, pilot, _):
            hub.api_faults.append(Fault(status=403, headers={"X-Error-Code": "GatedRepo"}))
            await choose(app, pilot, NAME)
            await until(pilot, lambda: "HF_TOKEN" in shown(app))
            monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
            await pilot.press("r")
            await until(pilot, lambda: "no space" in shown(app) and "HF_HOME" in shown(app))
            monkeypatch.undo()
            monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
            monkeypatch.setenv("HOME", str(home))
            await pilot.press("r")
            await until(pilot, lambda: "random" in app.chat.talk.model.name)
            await choose(app, pilot, "nobody/nothing:Q8_0")
            await until(pilot, lambda: isinstance(app.screen, PullScreen) and "nobody/nothing" in shown(app))
            await until(pilot, lambda: "try again" in shown(app).lower())

    asyncio.run(scenario())


def test_a_pull_that_waits_says_why_and_can_be_stopped(home: Path, hub: FakeHub) -> None:
    hub.faults.append(Fault(status=503, headers={"Retry-After": "30"}))

    async def scenario() -> None:
        async with chat(home, size=(120, 40)) as (app, pilot, _):
            await choose(app, pilot, NAME)
            await until(pilot, lambda: "trying again in 30 s" in shown(app))
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.chat)
            await choose(app, pilot, NAME)
            await until(pilot, lambda: "random" in app.chat.talk.model.name)

    asyncio.run(scenario())
