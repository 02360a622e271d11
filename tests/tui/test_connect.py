"""The chat with the models of a server: as in this process, and what goes wrong between them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from chatting import ASKED, answered, chat, command, say, until
from serving import Served, eventually, serve, serving
from textual.widgets import Static

from edgeinfer.address import Address
from edgeinfer.tui.app import ChatApp
from edgeinfer.tui.attached import AttachedServer
from edgeinfer.tui.screens.models import ModelsScreen
from edgeinfer.tui.widgets.engine_panel import EnginePanel
from edgeinfer.tui.widgets.message import AnswerView

ENDLESS = {"temperature": 0.0, "logit_bias": {0: -float("inf"), 2: -float("inf")}, "context_shift": True}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No models but the bundled ones."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "OLLAMA_MODELS", "LLAMA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve(None, context_length=1024) as server:
        yield server


def at(port: int) -> AttachedServer:
    return AttachedServer(Address.read(f"127.0.0.1:{port}"), None)


def told(app: ChatApp) -> str:
    return " ".join(f"{note.title} {note.message}" for note in app._notifications)


def who_answers(app: ChatApp) -> str:
    return str(app.chat.query_one("#model", Static).content)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_conversation_is_the_same_as_in_this_process(tmp_path: Path, served: Served) -> None:
    kept: list[list[Any]] = []

    async def scenario(folder: str, **options: Any) -> None:
        sampled = {"temperature": 0.8, "seed": 11}
        (tmp_path / folder).mkdir()
        async with chat(tmp_path / folder, generation=sampled, **options) as (app, pilot, store):
            for question in (ASKED, "And what then?"):
                await say(app, pilot, question)
            [session] = store.sessions()
            branch = store.branch(session.id)
            kept.append([(m.role, m.content, m.finish) for m in branch])
            kept.append([session.model, session.title, *(sorted(m.cost) for m in branch)])
            costs = [branch[i].cost for i in (1, 3)]
            kept.append([[c[n] for n in ("prompt_tokens", "completion_tokens")] for c in costs])
            assert costs[1]["cached_tokens"] > costs[0]["prompt_tokens"]

    asyncio.run(scenario("here"))
    asyncio.run(scenario("there", source=at(served.port)))
    assert kept[:3] == kept[3:]


def test_the_chat_tells_whose_models_and_which_engine_it_shows(tmp_path: Path, served: Served) -> None:
    async def scenario() -> None:
        async with chat(tmp_path, source=at(served.port)) as (app, pilot, _):
            await until(pilot, lambda: who_answers(app) == f"edgeinfer-tiny at 127.0.0.1:{served.port}")
            assert f"attached to the server at 127.0.0.1:{served.port}" in app.greeting
            await say(app, pilot, ASKED)
            await pilot.press("f5")
            panel = app.chat.query_one(EnginePanel)
            process = panel.query_one("#process", Static)
            await until(pilot, lambda: served.model.description in str(process.content))

    asyncio.run(scenario())


def test_a_session_that_is_opened_again_is_found_in_the_servers_cache(tmp_path: Path, served: Served) -> None:
    async def first() -> None:
        async with chat(tmp_path, source=at(served.port)) as (app, pilot, _):
            await say(app, pilot, "A question that nobody has asked before: is the sky blue?")

    async def again() -> None:
        async with chat(tmp_path, source=at(served.port), session=1) as (app, pilot, store):
            await say(app, pilot, "Why?")
            [_, asked, _, then] = store.branch(1)
            assert then.cost["cached_tokens"] > asked.cost["prompt_tokens"]

    asyncio.run(first())
    asyncio.run(again())


def test_escape_stops_the_server_too(tmp_path: Path, served: Served) -> None:
    async def scenario() -> None:
        source = at(served.port)
        async with chat(tmp_path, generation=ENDLESS, source=source) as (app, pilot, store):
            await command(app, pilot, ASKED)
            await until(pilot, lambda: bool(store.sessions()) and len(store.branch(1)) == 2)
            await until(pilot, lambda: "edgeinfer" in store.branch(1)[1].content)
            await pilot.press("escape")
            await answered(app, pilot)
            answer = store.branch(1)[1]
            assert (answer.finish, answer.cost["completion_tokens"] > 0) == ("cancelled", True)
            eventually(lambda: served.model.stats().n_running == 0)

    asyncio.run(scenario())


def test_another_model_is_opened_by_the_server(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        async with chat(tmp_path, source=at(port)) as (app, pilot, store):
            await pilot.press("f3")
            await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and bool(app.screen._outlooks))
            assert app.screen._outlooks["edgeinfer-tiny"].verdict == "open"
            assert app.screen._outlooks["edgeinfer-nano"].verdict == "closed"
            await pilot.press(*"nano", "enter")
            await until(pilot, lambda: who_answers(app).startswith("edgeinfer-nano at"))
            assert await say(app, pilot, ASKED)
            assert store.sessions()[0].model == "edgeinfer-nano"
            await command(app, pilot, "/model nobody")
            await until(pilot, lambda: "no model is called 'nobody'" in told(app))

    with serving() as (_, port):
        asyncio.run(scenario(port))


def test_a_server_that_dies_loses_no_word_and_is_asked_again(tmp_path: Path) -> None:
    port = free_port()

    async def scenario() -> None:
        with serving("--port", str(port)) as (process, _):
            async with chat(tmp_path, generation=ENDLESS, source=at(port)) as (app, pilot, store):
                await command(app, pilot, ASKED)
                await until(pilot, lambda: bool(store.sessions()) and len(store.branch(1)) == 2)
                await until(pilot, lambda: "edgeinfer" in store.branch(1)[1].content)
                process.send_signal(signal.SIGKILL)
                await answered(app, pilot)
                cut = store.branch(1)[1]
                assert (cut.finish, "edgeinfer" in cut.content) == ("error", True)
                assert f"127.0.0.1:{port} is lost" in cut.cost["error"]
                await say(app, pilot, "Are you there?")
                assert "no server answers" in store.branch(1)[3].cost["error"]
                await pilot.press("ctrl+n")  # the answer that was cut may have filled the context
                await until(pilot, lambda: not app.chat.query(AnswerView))
                app.chat.talk.update(parameters={"max_tokens": 5})
                with serving("--port", str(port)):
                    await say(app, pilot, ASKED)
                assert store.branch(2)[1].cost["completion_tokens"] == 5

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [(100, 30)])
def test_nobody_answers_at_first_and_somebody_later(tmp_path: Path, size: tuple[int, int]) -> None:
    port = free_port()

    async def scenario() -> None:
        async with chat(tmp_path, opens=False, size=size, source=at(port)) as (app, pilot, _):
            await until(pilot, lambda: "no server answers at" in told(app))
            assert "`edgeinfer serve` starts one" in told(app)
            with serving("--port", str(port)):
                await pilot.press("f3")
                await until(pilot, lambda: isinstance(app.screen, ModelsScreen) and bool(app.screen._all))
                await pilot.press("enter")
                await until(pilot, lambda: app.chat.talk is not None)
                assert "edgeinfer pull" in await say(app, pilot, ASKED)

    asyncio.run(scenario())


def test_a_server_that_runs_is_offered_and_taken_with_one_key(tmp_path: Path, served: Served) -> None:
    async def scenario() -> None:
        async with chat(tmp_path, nearby=at(served.port)) as (app, pilot, store):
            await until(pilot, lambda: f"edgeinfer serve runs at 127.0.0.1:{served.port}" in told(app))
            assert who_answers(app) == "edgeinfer-tiny"
            first = await say(app, pilot, ASKED)
            asked = served.model.stats().n_prompt
            await pilot.press("f6")
            await until(pilot, lambda: " at 127.0.0.1" in who_answers(app))
            assert len(app.chat.query(AnswerView)) == 1  # the conversation goes on
            await pilot.press("ctrl+r")
            await until(pilot, lambda: app.chat.query(AnswerView).last().versions == "\u20392/2\u203a")
            await answered(app, pilot)
            assert store.branch(1)[1].content == first
            assert served.model.stats().n_prompt > asked
            await pilot.press("f6")
            assert len(store.sessions()) == 1

    asyncio.run(scenario())


class NotEdgeinfer(BaseHTTPRequestHandler):
    """Other programs on the port, in turns."""

    bodies = cycle(
        (
            b'{"status": "ok", "models": ["edgeinfer-tiny"]}',
            b'{"server": "edgeinfer 1", "models": 5}',
            b'{"server": "edgeinfer 1", "models": [[]]}',
            b"[]",
            b"<html>",
        )
    )

    def do_GET(self) -> None:
        body = next(self.bodies)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.mark.parametrize("name", [None, "edgeinfer-nano"])
def test_what_saves_nothing_or_is_another_program_is_not_offered(served: Served, name: str | None) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), NotEdgeinfer) as other, socket.create_server(("", 0)) as mute:
        Thread(target=other.serve_forever, daemon=True).start()
        for port in (*[other.server_port] * 5, mute.getsockname()[1], free_port()):
            assert asyncio.run(at(port).answering("edgeinfer-tiny")) is None
        other.shutdown()
    expected = "edgeinfer-tiny" if name is None else None
    assert asyncio.run(at(served.port).answering(name)) == expected
    assert asyncio.run(at(served.port).answering("/models/Edgeinfer-Tiny.gguf")) == "edgeinfer-tiny"


def test_a_unix_socket_will_do(tmp_path: Path) -> None:
    path = tmp_path / "serve.sock"

    async def scenario() -> None:
        source = AttachedServer(Address.read(f"unix:{path}"), None)
        async with chat(tmp_path, source=source) as (app, pilot, _):
            assert await source.answering(None) == "edgeinfer-tiny"
            await until(pilot, lambda: who_answers(app) == f"edgeinfer-tiny at unix:{path}")
            assert "edgeinfer pull" in await say(app, pilot, ASKED)

    os.chdir(tmp_path)
    with serving("--host", f"unix:{path}"):
        asyncio.run(scenario())
