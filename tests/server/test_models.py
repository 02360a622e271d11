"""Several models behind one port: opened when they are asked for, closed when they are in the way."""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ollama
import pytest
import tiny
from serving import Served, eventually

import edgeinfer
from edgeinfer import machine
from edgeinfer.hub.located import Located
from edgeinfer.hub.store import own
from edgeinfer.loading import plan
from edgeinfer.machine import Memory
from edgeinfer.server.entry import Entry
from edgeinfer.server.guard import Rules
from edgeinfer.server.models import Models, Terms
from edgeinfer.server.pool import Pool

CHAT: list[Any] = [{"role": "user", "content": "one of the words that we know"}]
OPTIONS: dict[str, Any] = {"context_length": 256, "threads": 1}
NAMES = ("first", "second", "third")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three models that say different things."""
    folder = tmp_path_factory.mktemp("fleet")
    types = ("Q8_0", "Q4_0", "F16")
    return {
        name: tiny.write_gguf(folder / f"{name}.gguf", "llama", kind)
        for name, kind in zip(NAMES, types, strict=True)
    }


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No models of whoever runs the tests."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "OLLAMA_MODELS", "LLAMA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


class Fleet(Served):
    """A server of several models, none of them open yet."""

    def __init__(self, named: dict[str, Path], terms: Terms, most_open: int | None) -> None:
        self.opened: list[str] = []  # as often as that happened
        self.gate = threading.Event()  # no model is opened before
        self.gate.set()
        pool = Pool(self._open, partial(plan, **OPTIONS), most_open=most_open)
        self.models = Models([Entry(name, Located(path, name)) for name, path in named.items()], pool, terms)
        super().__init__(self.models, Rules())

    def _open(self, located: Located) -> edgeinfer.Model:
        self.opened.append(located.path.stem)
        self.gate.wait()
        return edgeinfer.load(located, **OPTIONS)

    def stop(self) -> None:
        self.gate.set()
        super().stop()
        self.models.__exit__()

    def ask(self, name: str | None, **fields: Any) -> tuple[int, Any]:
        body = {"messages": CHAT, "seed": 5, "max_tokens": 8, "model": name, **fields}
        return self.post(json.dumps(body).encode())

    def text(self, name: str | None, **fields: Any) -> str:
        status, answer = self.ask(name, **fields)
        assert status == 200, answer
        return str(answer["choices"][0]["message"]["content"])

    def states(self) -> dict[str, str]:
        """Of the models, as /v1/models tells them."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/v1/models")
        entries = json.loads(connection.getresponse().read())["data"]
        connection.close()
        return {entry["id"]: entry["status"]["value"] for entry in entries}

    def loaded(self) -> set[str]:
        return {name for name, state in self.states().items() if state == "loaded"}

    @contextmanager
    def endless(self, name: str) -> Iterator[http.client.HTTPResponse]:
        """A stream that has begun and does not end before the context is full."""
        forbidden = {str(i): -10000 for i in range(3)}
        body = {"messages": CHAT, "model": name, "stream": True, "n": 8, "logit_bias": forbidden}
        with self.streamed("/v1/chat/completions", body) as response:
            response.read(2000)
            yield response

    @contextmanager
    def streamed(self, path: str, body: dict[str, Any]) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", path, json.dumps(body))
        with closing(connection), connection.getresponse() as response:
            yield response


Serve = Callable[..., Fleet]


@pytest.fixture
def serve(files: dict[str, Path]) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(*names: str, most_open: int | None = None, **terms: Any) -> Fleet:
            named = {name: files[name] for name in names}
            fleet = Fleet(named, Terms(**terms), most_open)
            stack.callback(fleet.stop)
            return fleet

        yield start


@pytest.fixture(scope="session")
def texts(files: dict[str, Path]) -> dict[str, str]:
    """What each model says, alone."""
    found = {}
    for name, path in files.items():
        with edgeinfer.load(path, **OPTIONS) as model:
            found[name] = "".join(token.text for token in model.chat(CHAT, seed=5, max_tokens=8))
    assert len(set(found.values())) == 3
    return found


def test_each_model_answers_by_its_name_however_it_is_spelled(serve: Serve, texts: dict[str, str]) -> None:
    fleet = serve("first", "second")
    for name in (None, "", "first", "First:latest", "first.gguf"):
        assert fleet.text(name) == texts["first"]
    assert fleet.text("second:latest") == texts["second"]
    assert fleet.opened == ["first", "second"]
    with ollama.Client(f"http://127.0.0.1:{fleet.port}") as client:
        answer = client.chat("second:latest", CHAT, options={"seed": 5, "num_predict": 8})
    assert (answer.model, answer.message.content) == ("second", texts["second"])


def test_what_lies_on_this_machine_is_opened_by_name(
    serve: Serve, files: dict[str, Path], texts: dict[str, str]
) -> None:
    own.link("mine", files["third"])
    fleet = serve("first")
    assert {"first", "mine", "edgeinfer-tiny"} <= fleet.states().keys()
    with ollama.Client(f"http://127.0.0.1:{fleet.port}") as client:
        shown, listed = client.show("mine"), client.list()
        assert fleet.opened == []  # to tell about it
        assert shown.parameters == "num_ctx 256"
        assert [m.size for m in listed.models if m.model == "mine"] == [files["third"].stat().st_size]
        assert fleet.text("mine") == fleet.text("Mine:latest") == texts["third"]
        [running] = client.ps().models
        assert running.model == "mine"
        assert (running.size or 0) > files["third"].stat().st_size
        assert running.expires_at is not None
        assert 1700 < running.expires_at.timestamp() - time.time() < 1801
    assert len(fleet.opened) == 1


def test_no_client_names_a_path(serve: Serve, files: dict[str, Path]) -> None:
    fleet = serve("first")
    path = str(files["second"])
    for name in (path, f"./{path}", f"file://{path}", f"first/../{path}", "../first", "x" * 100_000, "a\0b"):
        status, answer = fleet.ask(name)
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
        assert fleet.post(json.dumps({"model": name, "prompt": "x"}).encode(), "/api/generate")[0] == 404
    assert fleet.opened == []


def test_twenty_first_requests_open_a_model_once(serve: Serve, texts: dict[str, str]) -> None:
    fleet = serve("first")
    fleet.gate.clear()
    with ThreadPoolExecutor(20) as threads:
        answers = [threads.submit(fleet.text, "first") for _ in range(20)]
        eventually(lambda: fleet.states()["first"] == "loading")
        fleet.gate.set()
        assert {answer.result() for answer in answers} == {texts["first"]}
    assert fleet.opened == ["first"]


def test_a_model_that_cannot_be_opened_fails_all_who_wait_and_is_tried_again(
    serve: Serve, files: dict[str, Path], texts: dict[str, str], tmp_path: Path
) -> None:
    files["broken"] = broken = tmp_path / "broken.gguf"
    broken.write_bytes(files["first"].read_bytes()[:5000])
    fleet = serve("broken", "second")
    del files["broken"]
    with ThreadPoolExecutor(5) as threads:
        answers = list(threads.map(fleet.ask, ["broken"] * 5))
    assert {(status, answer["error"]["code"]) for status, answer in answers} == {(500, "bad_model_file")}
    assert fleet.text("second") == texts["second"]
    broken.write_bytes(files["first"].read_bytes())
    assert fleet.text("broken") == texts["first"]


def test_the_one_not_used_for_longest_makes_room(serve: Serve, texts: dict[str, str]) -> None:
    fleet = serve(*NAMES, most_open=2)
    for name in ("first", "second", "first"):
        fleet.text(name)
    assert fleet.text("third") == texts["third"]
    assert fleet.loaded() == {"first", "third"}
    assert fleet.text("second") == texts["second"]
    assert fleet.loaded() == {"second", "third"}


def test_a_busy_model_is_never_closed(serve: Serve, texts: dict[str, str]) -> None:
    fleet = serve("first", "second", most_open=1)
    with ThreadPoolExecutor(1) as threads:
        with fleet.endless("first") as stream:
            answer = threads.submit(fleet.text, "second")
            eventually(lambda: fleet.states()["second"] == "loading")
            assert b"data:" in stream.read(2000)
            assert fleet.loaded() == {"first"}
            assert not answer.done()
        assert answer.result() == texts["second"]
    assert fleet.loaded() == {"second"}


def test_a_client_that_goes_before_its_answer_begins_leaves_nothing_busy(
    serve: Serve, texts: dict[str, str]
) -> None:
    fleet = serve("first", "second", most_open=1)
    fleet.gate.clear()
    for stream in (True, False):
        connection = http.client.HTTPConnection("127.0.0.1", fleet.port)
        body = {"messages": CHAT, "model": "first", "stream": stream}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        eventually(lambda: fleet.states()["first"] == "loading")
        connection.close()
    fleet.gate.set()
    assert fleet.text("second") == texts["second"]


@pytest.mark.parametrize(("short_by", "stay"), [(0, {"first", "second"}), (1, {"second"})])
def test_models_make_room_when_memory_is_short(
    serve: Serve, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, short_by: int, stay: set[str]
) -> None:
    first, second = plan(files["first"], **OPTIONS), plan(files["second"], **OPTIONS)
    available = first.file_bytes + second.total_bytes - short_by
    monkeypatch.setattr(machine, "memory", lambda: Memory(available, available))
    fleet = serve("first", "second")
    fleet.text("first")
    fleet.text("second")
    assert fleet.loaded() == stay


def test_nobody_makes_room_for_a_model_that_does_not_fit_alone(
    serve: Serve, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    total = plan(files["third"], **OPTIONS).total_bytes - 1
    assert total > plan(files["first"], **OPTIONS).total_bytes
    monkeypatch.setattr(machine, "memory", lambda: Memory(total, total))
    fleet = serve("first", "third")
    fleet.text("first")
    status, answer = fleet.ask("third")
    assert (status, answer["error"]["code"]) == (507, "not_enough_memory")
    assert fleet.loaded() == {"first"}


def test_the_client_says_how_long_a_model_stays(serve: Serve, files: dict[str, Path]) -> None:
    own.link("mine", files["second"])
    fleet = serve("first", keep_alive_s=math.inf)
    for keep_alive in (0, "0", "1ms", 0.001, "0.00001h"):
        fleet.text("mine", keep_alive=keep_alive)
        eventually(lambda: fleet.states()["mine"] == "unloaded")
    fleet.text("mine", ttl=0)
    eventually(lambda: fleet.states()["mine"] == "unloaded")
    for keep_alive in (-1, "5m", "1h30m", 300):
        fleet.text("mine", keep_alive=keep_alive)
    assert fleet.loaded() == {"mine"}
    status, answer = fleet.ask("mine", keep_alive="soon")
    assert (status, answer["error"]["param"]) == (400, "keep_alive")


def test_a_model_closes_when_its_time_is_over_and_one_that_was_named_stays(
    serve: Serve, files: dict[str, Path]
) -> None:
    own.link("mine", files["second"])
    fleet = serve("first", keep_alive_s=0.01)
    fleet.text("first", keep_alive="1ms")
    fleet.text("mine")
    eventually(lambda: fleet.states()["mine"] == "unloaded")
    assert fleet.loaded() == {"first"}


def test_ollamas_stop_closes_a_model(serve: Serve, texts: dict[str, str]) -> None:
    fleet = serve("first")
    with ollama.Client(f"http://127.0.0.1:{fleet.port}") as client:
        loaded = client.generate("first")
        assert loaded.done_reason == "load"
        answer = client.chat("first", CHAT, options={"num_predict": 2})
        assert (answer.total_duration or 0) >= (answer.load_duration or 0) > 0
        assert fleet.loaded() == {"first"}
        assert client.generate("first", keep_alive=0).done_reason == "unload"
        eventually(lambda: fleet.loaded() == set())
        assert client.generate("first", keep_alive=0).done_reason == "unload"
    assert fleet.opened == ["first"]
    assert fleet.text("first") == texts["first"]


def test_the_command_line_lists_and_closes_what_a_server_has_open(
    serve: Serve, edgeinfer_command: Callable[..., Any]
) -> None:
    fleet = serve("first", "second")
    where = ("--url", f"http://127.0.0.1:{fleet.port}")
    assert edgeinfer_command("ps", *where).out.split() == ["name", "memory", "context", "closes"]
    fleet.text("first")
    fleet.text("edgeinfer-nano")
    [_, first, nano] = edgeinfer_command("ps", *where).out.strip().split("\n")
    assert first.split()[0] == "first"
    assert first.endswith("256      never")
    assert nano.split()[0] == "edgeinfer-nano"
    assert nano.endswith("in 30 min")
    assert edgeinfer_command("stop", "first", *where).code == 0
    eventually(lambda: fleet.loaded() == {"edgeinfer-nano"})
    [entry] = json.loads(edgeinfer_command("ps", "--json", *where).out)
    assert entry["model"] == "edgeinfer-nano"
    assert edgeinfer_command("stop", "third", *where).code == 9
    fleet.stop()
    assert edgeinfer_command("ps", *where).code == 5


def test_requests_beyond_the_queue_are_refused_and_told_when_to_come_again(
    serve: Serve, texts: dict[str, str]
) -> None:
    fleet = serve("first", most_waiting=2)
    fleet.gate.clear()
    with ThreadPoolExecutor(5) as threads:
        answers = [threads.submit(fleet.ask, "first") for _ in range(5)]
        eventually(lambda: sum(answer.done() for answer in answers) == 3)
        for path in ("/v1/chat/completions", "/api/chat"):
            with fleet.streamed(path, {"model": "first", "messages": CHAT}) as refused:
                assert (refused.status, int(refused.headers["Retry-After"]) > 0) == (503, True)
                assert b"requests wait for first" in refused.read()
        fleet.gate.set()
        found = [answer.result() for answer in answers]
    assert sorted(status for status, _ in found) == [200, 200, 503, 503, 503]
    assert {told["error"]["code"] for status, told in found if status == 503} == {"queue_full"}


def test_who_is_computed_does_not_wait(serve: Serve, texts: dict[str, str]) -> None:
    fleet = serve("first", most_waiting=1)
    with fleet.endless("first"):
        assert fleet.text("first") == texts["first"]


def test_a_stream_that_waits_is_told_its_place(serve: Serve) -> None:
    fleet = serve("first")
    fleet.text("first")
    with ExitStack() as stack:
        places = [int(stack.enter_context(fleet.endless("first")).headers["X-Queue-Position"])]
        for i in range(12):
            body = {"prompt": [5 + i] * 200, "max_tokens": 50, "stream": True, "model": "first"}
            stream = stack.enter_context(fleet.streamed("/v1/completions", body))
            places.append(int(stream.headers["X-Queue-Position"]))
    assert places[0] == 0
    assert max(places) > 0


def test_health_tells_that_named_models_are_being_opened(serve: Serve) -> None:
    fleet = serve("first")
    connection = http.client.HTTPConnection("127.0.0.1", fleet.port)
    connection.request("GET", "/health")
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())) == (503, {"status": "loading"})
    connection.close()
