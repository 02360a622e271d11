"""Clients that go before their answer has ended: nothing more is computed for them, and nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gated import CHUNK, Gated
from serving import eventually

LONG = "one of the words that we know " * 40
SHORT = "one of the words"
PATHS = ("/v1/chat/completions", "/v1/messages", "/api/chat")


@pytest.fixture
def gated(random_model: Path) -> Iterator[Gated]:
    with Gated(random_model) as server:
        yield server


@pytest.fixture
def one_at_a_time(random_model: Path) -> Iterator[Gated]:
    with Gated(random_model, max_sequences=1) as server:
        yield server


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_what_was_read_for_one_that_left_is_not_read_again(gated: Gated, path: str, stream: bool) -> None:
    backend, n_prompt = gated.backend, gated.n_tokens(LONG)
    assert n_prompt > 4 * CHUNK
    gated.gate.let(2)
    leaving = gated.send(path, LONG, stream=stream)
    eventually(lambda: len(backend.batches) == 3)  # it is within the third chunk, and stays there
    leaving.close()
    eventually(lambda: gated.model.stats().n_running == 0)
    assert gated.model.stats().n_ended == {"cancelled": 1}
    gated.gate.set()
    answer = gated.ask(path, LONG, max_tokens=1)
    assert backend.n_read(since=3) == n_prompt - 2 * CHUNK
    if path == "/v1/chat/completions":
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 2 * CHUNK
    if path == "/v1/messages":
        assert answer["usage"]["cache_read_input_tokens"] == 2 * CHUNK


@pytest.mark.parametrize(("path", "stream"), [(PATHS[0], True), (PATHS[1], False), (PATHS[2], True)])
def test_one_that_leaves_in_the_middle_of_its_answer_disturbs_nobody(
    gated: Gated, path: str, stream: bool
) -> None:
    gated.gate.set()
    alone = gated.ask(PATHS[0], SHORT, max_tokens=40)["choices"]
    gated.gate.pace_s = 0.01
    with ThreadPoolExecutor(1) as threads:
        leaving = gated.send(path, LONG, stream=stream)
        other = threads.submit(gated.ask, PATHS[0], SHORT, 40)
        eventually(lambda: gated.model.stats().n_generated > 45)
        leaving.close()
        eventually(lambda: gated.model.stats().n_running < 2)
        found = other.result()["choices"]
    eventually(lambda: gated.model.stats().n_running == 0)
    assert gated.model.stats().n_ended == {"cancelled": 1, "length": 2}
    assert found == alone


@pytest.mark.parametrize(("path", "stream"), [(PATHS[0], True), (PATHS[1], False), (PATHS[2], True)])
def test_one_that_leaves_the_queue_is_never_computed(one_at_a_time: Gated, path: str, stream: bool) -> None:
    gated = one_at_a_time
    gated.gate.pace_s = 0.01
    gated.gate.set()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(gated.ask, PATHS[0], SHORT, 60)
        eventually(lambda: gated.model.stats().n_running == 1)
        leaving = gated.send(path, LONG, stream=stream)
        eventually(lambda: gated.model.stats().n_waiting == 1)
        leaving.close()
        eventually(lambda: gated.model.stats().n_waiting == 0)
        assert first.result()["usage"]["completion_tokens"] == 60
    assert gated.model.stats().n_ended == {"cancelled": 1, "length": 1}
    assert gated.backend.n_read() == gated.n_tokens(SHORT) + 59


def test_equal_requests_at_once_are_computed_once_in_whatever_dialect(gated: Gated) -> None:
    together = threading.Barrier(3)

    def ask(path: str) -> None:
        together.wait()
        gated.ask(path, LONG, max_tokens=1)

    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(ask, path) for path in PATHS]
        eventually(lambda: gated.backend.entered.is_set())
        gated.gate.set()
        for answer in asked:
            answer.result()
    assert gated.backend.n_read() == gated.n_tokens(LONG) + 2  # the last token of each tells what follows it
