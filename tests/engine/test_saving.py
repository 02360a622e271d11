"""An engine that is started again goes on where the one before ended, or computes; never anything else."""

from __future__ import annotations

import queue
import resource
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny
from fakes import FakeBackend
from readers import Reader

from edgeinfer import _native, models
from edgeinfer.backends.base import KvBlock
from edgeinfer.backends.native import NativeBackend
from edgeinfer.engine.engine import Engine
from edgeinfer.engine.events import EndEvent, Event, TokenEvent, Usage
from edgeinfer.engine.request import Priority, Request
from edgeinfer.engine.sampling import Sampling
from edgeinfer.kv.disk import Chain, SavedPrefixes, Unsaved

PROMPT = [(7 * i) % 60 + 3 for i in range(700)]
BLOCK_TOKENS = _native.KV_BLOCK_TOKENS


def store_in(folder: Path, most_bytes: int = 1 << 30) -> SavedPrefixes:
    return SavedPrefixes(folder, "key", BLOCK_TOKENS, most_bytes)


def start(
    model: Path,
    store: SavedPrefixes | Path | None,
    n_ctx: int = 1024,
    n_blocks: int | Sequence[int] = 80,
) -> Engine:
    file = _native.gguf_open(str(model))
    spec = models.load_spec(file, n_ctx)
    backend = NativeBackend(file, spec, n_threads=2, n_ctx=n_ctx, n_blocks=n_blocks)
    return Engine(backend, store=store_in(store) if isinstance(store, Path) else store)


def n_saved(folder: Path, tokens: list[int]) -> int:
    """How many first tokens are in files."""
    return store_in(folder).find(np.array(tokens, np.int32)).n


def ask(
    engine: Engine, tokens: list[int], n: int = 8, priority: Priority = "interactive"
) -> tuple[list[int], Usage]:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    engine.submit(Request(list(tokens), Sampling(temperature=1.0), 5, n, sink=events.put, priority=priority))
    answer: list[int] = []
    while True:
        event = events.get(timeout=60)
        if isinstance(event, EndEvent):
            assert event.error is None
            return answer, event.usage
        if isinstance(event, TokenEvent):
            answer.append(event.id)


def once(model: Path, folder: Path | None, tokens: list[int], n: int = 8) -> tuple[list[int], Usage]:
    """One answer of an engine that is started for it and closed, which waits for what is being written."""
    engine = start(model, folder)
    result = ask(engine, tokens, n)
    engine.close()
    return result


def until_saved(engine: Engine, n_tokens: int = 1) -> None:
    for _ in range(4000):
        if engine.stats().n_saved >= n_tokens:
            return
        time.sleep(0.005)
    raise AssertionError("nothing was saved")


@pytest.fixture
def expected(random_model: Path) -> list[int]:
    return once(random_model, None, PROMPT)[0]


def test_a_conversation_goes_on_after_a_restart(
    random_model: Path, tmp_path: Path, expected: list[int]
) -> None:
    assert once(random_model, tmp_path, PROMPT)[0] == expected
    engine = start(random_model, tmp_path)
    answer, usage = ask(engine, PROMPT)
    assert (answer, usage.n_cached) == (expected, 699)
    turn = [*PROMPT, *answer, 4, 5, 6]
    longer, usage = ask(engine, turn)
    engine.close()
    assert once(random_model, None, turn)[0] == longer
    assert usage.n_cached == 707


def test_windows_whose_past_was_given_back_are_saved_and_found_too(tmp_path: Path) -> None:
    model = tiny.write_gguf(tmp_path / "model.gguf", "gemma3", "Q8_0")
    expected, _ = once(model, None, PROMPT)
    least = (80, 19)  # of 26 blocks, windows of 32 tokens keep these
    engine = start(model, tmp_path, n_blocks=least)
    assert ask(engine, PROMPT)[0] == expected
    engine.close()
    turn = [*PROMPT, *expected, 4, 5, 6]
    for tokens, n_cached in ((turn, 707), ([*PROMPT[:200], *[9] * 100], 0)):
        engine = start(model, tmp_path, n_blocks=least)
        answer, usage = ask(engine, tokens)
        engine.close()
        assert usage.n_cached == n_cached
        assert answer == once(model, None, tokens)[0]


def test_forks_of_a_sequence_with_windows_go_on_after_a_restart(tmp_path: Path) -> None:
    model = tiny.write_gguf(tmp_path / "model.gguf", "gemma3", "Q8_0")
    forks = [PROMPT, [*PROMPT[:300], *[9] * 130], [*PROMPT[:300], *[8] * 120]]
    engine = start(model, tmp_path / "kv", n_blocks=(80, 30))
    turns = [[*prompt, *ask(engine, prompt)[0], 4, 5] for prompt in forks]
    until_saved(engine, 700 + 130 + 120)
    engine.close()
    for turn in turns:
        answer, usage = once(model, tmp_path / "kv", turn)
        assert usage.n_cached == len(turn) - 3
        assert answer == once(model, None, turn)[0]


def test_a_part_of_what_was_saved_is_of_use(random_model: Path, tmp_path: Path) -> None:
    once(random_model, tmp_path, PROMPT)
    other = [*PROMPT[:450], *[9] * 100]
    answer, usage = once(random_model, tmp_path, other)
    assert usage.n_cached == 450
    assert answer == once(random_model, None, other)[0]


def test_short_prompts_are_not_saved(random_model: Path, tmp_path: Path) -> None:
    once(random_model, tmp_path, PROMPT[:200])
    assert list(tmp_path.rglob("*.kv")) == []


def test_requests_in_the_background_are_not_saved(random_model: Path, tmp_path: Path) -> None:
    long, said = [(5 * i) % 60 + 4 for i in range(2000)], PROMPT[:300]
    engine = start(random_model, tmp_path, n_ctx=2100, n_blocks=400)
    ask(engine, said)
    ask(engine, long, priority="batch")
    again = ask(engine, long, n=1, priority="batch")[1]
    assert again.n_cached == len(long) - 1  # as long as the engine runs
    engine.close()
    assert n_saved(tmp_path, long) == 0
    assert n_saved(tmp_path, said) == len(said)


def test_what_was_said_last_is_saved_at_the_end_to_the_last_token(random_model: Path, tmp_path: Path) -> None:
    engine = start(random_model, tmp_path)
    ask(engine, PROMPT[:500], 1)
    until_saved(engine)
    ask(engine, [*PROMPT[:500], 8, 8, 8], 1)  # too little for a file, but for the last one
    engine.close()
    assert n_saved(tmp_path, [*PROMPT[:500], 8, 8, 8]) == 503


def test_a_growing_conversation_is_written_once(random_model: Path, tmp_path: Path) -> None:
    engine = start(random_model, tmp_path)
    chat = PROMPT[:300]
    for turn in range(4):
        answer, _ = ask(engine, chat, 4)
        until_saved(engine, len(chat))
        chat = [*chat, *answer, *[turn + 5] * 120]
    engine.close()
    files = list(tmp_path.rglob("*.kv"))
    n_bytes = sum(path.stat().st_size for path in files)
    shutil.rmtree(tmp_path)
    once(random_model, tmp_path, chat[:-120], 1)
    (whole,) = tmp_path.rglob("*.kv")
    n_blocks = -(-len(chat[:-120]) // BLOCK_TOKENS)
    assert n_bytes < whole.stat().st_size * (n_blocks + len(files)) / n_blocks  # a tail for each turn


def test_chats_are_saved_while_the_engine_is_never_idle(random_model: Path, tmp_path: Path) -> None:
    engine = start(random_model, tmp_path)
    other = Request([5] * 20, Sampling(temperature=1.0), 1, 900, sink=lambda event: None)
    engine.submit(other)
    ask(engine, PROMPT, 1)
    until_saved(engine, 700)
    assert engine.stats().n_running == 1
    engine.cancel(other)
    engine.close()


def test_a_long_prompt_is_saved_while_it_is_answered(random_model: Path, tmp_path: Path) -> None:
    engine = start(random_model, tmp_path, n_ctx=2048)
    prompt = [*PROMPT, *PROMPT]
    request = Request(list(prompt), Sampling(temperature=1.0), 1, 600, sink=lambda event: None)
    engine.submit(request)
    until_saved(engine)
    assert engine.stats().n_running == 1
    assert n_saved(tmp_path, prompt) == len(prompt) // BLOCK_TOKENS * BLOCK_TOKENS
    engine.cancel(request)
    engine.close()


def test_scored_texts_are_not_kept(random_model: Path, tmp_path: Path) -> None:
    engine = start(random_model, tmp_path)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    scored = Request(PROMPT, Sampling(), 0, 0, sink=events.put, score=lambda first, rows: None)
    engine.submit(scored)
    while not isinstance(events.get(timeout=60), EndEvent):
        pass
    assert engine.stats().n_kept == 0
    engine.close()
    assert list(tmp_path.rglob("*.kv")) == []


def test_what_is_damaged_is_computed_anew(random_model: Path, tmp_path: Path, expected: list[int]) -> None:
    once(random_model, tmp_path, PROMPT)
    (path,) = tmp_path.rglob("*.kv")
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    answer, usage = once(random_model, tmp_path, PROMPT)
    assert answer == expected
    assert 256 < usage.n_cached < 400  # what stands before the damage
    assert once(random_model, tmp_path, PROMPT)[1].n_cached == 699  # written again


def test_blocks_of_a_foreign_size_are_not_used(
    random_model: Path, tmp_path: Path, expected: list[int]
) -> None:
    store, foreign = store_in(tmp_path), [(np.zeros(100, np.uint8),)] * 22
    new = store.unsaved(np.array(PROMPT, np.int32), foreign)
    assert new is not None
    assert store.write(new, foreign)
    answer, usage = once(random_model, tmp_path, PROMPT)
    assert (answer, usage.n_cached) == (expected, 0)


def test_answers_come_although_nothing_can_be_saved(
    random_model: Path, tmp_path: Path, expected: list[int]
) -> None:
    (tmp_path / "file").write_text("")
    engine = start(random_model, tmp_path / "file")
    assert ask(engine, PROMPT)[0] == expected
    for _ in range(2000):
        if (error := engine.stats().save_error) is not None:
            break
        time.sleep(0.005)
    assert error is not None
    assert "cannot save" in error
    assert ask(engine, [*PROMPT, 1])[1].n_cached == 700
    engine.close()


def test_a_sequence_that_is_too_large_to_save_is_left(random_model: Path, tmp_path: Path) -> None:
    engine = start(random_model, store_in(tmp_path, most_bytes=1000))
    ask(engine, PROMPT)
    ask(engine, PROMPT[::-1])
    assert engine.stats().save_error is None
    engine.close()
    assert list(tmp_path.rglob("*.kv")) == []


def test_a_disk_that_was_full_is_tried_again(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeinfer.engine.saving._AFTER_ERROR", 0.1)
    engine = start(random_model, tmp_path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1]))
    try:
        ask(engine, PROMPT)
        while (error := engine.stats().save_error) is None:
            time.sleep(0.005)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "cannot save" in error
    ask(engine, PROMPT[::-1])
    until_saved(engine, 1400)
    assert engine.stats().save_error is None
    engine.close()


def test_a_folder_that_vanishes_while_it_runs_is_made_again(
    random_model: Path, tmp_path: Path, expected: list[int]
) -> None:
    engine = start(random_model, tmp_path / "kv")
    answer, _ = ask(engine, PROMPT)
    until_saved(engine, 700)
    shutil.rmtree(tmp_path / "kv")
    assert ask(engine, PROMPT)[0] == expected
    ask(engine, [*PROMPT, *answer, *[4] * 100])
    engine.close()
    assert n_saved(tmp_path / "kv", [*PROMPT, *answer, *[4] * 100]) == 808


class SlowStore(SavedPrefixes):
    """Takes its time, as long as it is told to."""

    rest_s = 0.3

    def write(self, new: Unsaved, blocks: Iterable[KvBlock]) -> bool:
        time.sleep(self.rest_s)
        return super().write(new, blocks)

    def read(self, chain: Chain) -> Iterator[KvBlock]:
        for block in super().read(chain):
            time.sleep(self.rest_s)
            yield block


def test_a_request_that_needs_the_room_of_what_is_being_saved_gets_it(
    random_model: Path, tmp_path: Path
) -> None:
    file = _native.gguf_open(str(random_model))
    spec = models.load_spec(file, 1024)
    backend = NativeBackend(file, spec, n_threads=1, n_ctx=1024, n_blocks=24, max_sequences=2)
    engine = Engine(backend, store=SlowStore(tmp_path, "key", BLOCK_TOKENS, 1 << 30))
    ask(engine, PROMPT, 1)
    answer, _ = ask(engine, PROMPT[::-1], 8)  # all 24 blocks, while the first are being written
    assert len(answer) == 8
    engine.close()


def test_a_slow_disk_is_left_alone_until_it_is_fast_again(random_model: Path, tmp_path: Path) -> None:
    prompts = [[i, *PROMPT[:400]] for i in range(3, 33)]
    engine = start(random_model, tmp_path, n_blocks=500)
    for prompt in prompts:
        ask(engine, prompt, 1)
    until_saved(engine, len(prompts) * 401)
    engine.close()
    store = SlowStore(tmp_path, "key", BLOCK_TOKENS, 1 << 30)
    engine = start(random_model, store, n_blocks=500)
    ask(engine, PROMPT, 1)  # now it knows how long computing takes
    n_cached = [ask(engine, prompt, 1)[1].n_cached for prompt in prompts[:6]]
    assert 0 < n_cached[0] < 400  # it did not wait for the rest
    assert n_cached[1:] == [0] * 5
    store.rest_s = 0.0
    n_cached = [ask(engine, prompt, 1)[1].n_cached for prompt in prompts[6:]]
    assert n_cached[:2] == [0, 0]
    assert max(n_cached) == 400  # how often depends on the machine
    engine.close()


class ClosesItsEngine(SavedPrefixes):
    engine: Engine

    def write(self, new: Unsaved, blocks: Iterable[KvBlock]) -> bool:
        self.engine.close()
        return super().write(new, blocks)


def test_an_engine_may_be_closed_in_the_thread_that_saves(tmp_path: Path) -> None:
    store = ClosesItsEngine(tmp_path, "model", 4, 1 << 30)
    store.engine = Engine(FakeBackend(n_ctx=1024, n_blocks=1024), store=store)
    Reader(store.engine, [1, 2] * 200).result()
    closing = threading.Thread(target=store.engine.close)
    closing.start()
    closing.join(20)
    assert not closing.is_alive()


def test_saving_goes_on_while_the_sequence_is_used(random_model: Path, tmp_path: Path) -> None:
    engine = start(random_model, tmp_path)
    answer, _ = ask(engine, PROMPT)
    for _ in range(5):  # the same blocks, at once
        answer, _ = ask(engine, [*PROMPT, *answer], 20)
    until_saved(engine)
    engine.close()
    turn = [*PROMPT, *answer]
    assert once(random_model, tmp_path, turn)[0] == once(random_model, None, turn)[0]
