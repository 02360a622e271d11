"""An engine that is started again goes on where the one before ended, or computes; never anything else."""

from __future__ import annotations

import queue
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeinfer import _native, models
from edgeinfer.backends.native import NativeBackend
from edgeinfer.engine.engine import Engine
from edgeinfer.engine.events import EndEvent, Event, TokenEvent, Usage
from edgeinfer.engine.request import Request
from edgeinfer.engine.sampler import Sampling
from edgeinfer.kv.disk import Blocks, Saved, SavedPrefixes

PROMPT = [(7 * i) % 60 + 3 for i in range(700)]


def start(model: Path, folder: Path | None, most_bytes: int = 1 << 30) -> Engine:
    file = _native.gguf_open(str(model))
    backend = NativeBackend(file, models.load_spec(file, 1024), n_threads=2, n_ctx=1024, n_blocks=80)
    store = None if folder is None else SavedPrefixes(folder, "key", most_bytes)
    return Engine(backend, store=store)


def ask(engine: Engine, tokens: list[int], n: int = 8) -> tuple[list[int], Usage]:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    engine.submit(Request(list(tokens), Sampling(temperature=1.0), 5, n, sink=events.put))
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


def until_saved(engine: Engine) -> None:
    for _ in range(2000):
        if engine.stats().n_saved:
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


def test_a_part_of_what_was_saved_is_of_use(random_model: Path, tmp_path: Path) -> None:
    once(random_model, tmp_path, PROMPT)
    other = [*PROMPT[:450], *[9] * 100]
    answer, usage = once(random_model, tmp_path, other)
    assert usage.n_cached == 450
    assert answer == once(random_model, None, other)[0]


def test_short_prompts_are_not_saved(random_model: Path, tmp_path: Path) -> None:
    once(random_model, tmp_path, PROMPT[:200])
    assert list(tmp_path.rglob("*.kv")) == []


def test_what_was_said_last_is_saved_at_the_end(random_model: Path, tmp_path: Path) -> None:
    engine = start(random_model, tmp_path)
    ask(engine, PROMPT[:500], 1)
    until_saved(engine)
    engine.close()
    once(
        random_model, tmp_path, [*PROMPT[:500], *[8] * 20], 1
    )  # too little to write again meanwhile or in the end
    assert [s.tokens.tolist() for s in SavedPrefixes(tmp_path, "key", 1 << 30).all] == [PROMPT[:500]]
    engine = start(random_model, tmp_path)
    ask(engine, PROMPT, 1)
    assert ask(engine, [*PROMPT, *[8] * 300], 1)[1].n_cached == 700
    engine.close()
    saved = [len(s.tokens) for s in SavedPrefixes(tmp_path, "key", 1 << 30).all]
    assert saved == [1000]


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


def test_damaged_files_are_computed_anew(random_model: Path, tmp_path: Path, expected: list[int]) -> None:
    once(random_model, tmp_path, PROMPT)
    (path,) = tmp_path.rglob("*.kv")
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    answer, usage = once(random_model, tmp_path, PROMPT)
    assert (answer, usage.n_cached) == (expected, 0)


def test_blocks_of_a_foreign_size_are_not_used(
    random_model: Path, tmp_path: Path, expected: list[int]
) -> None:
    store = SavedPrefixes(tmp_path, "key", 1 << 30)
    assert store.write(np.array(PROMPT, np.int32), [np.zeros(100, np.uint8)] * 22) is not None
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
    engine = start(random_model, tmp_path, most_bytes=1000)
    ask(engine, PROMPT)
    ask(engine, PROMPT[::-1])
    assert engine.stats().save_error is None
    engine.close()
    assert list(tmp_path.rglob("*.kv")) == []


class SlowStore(SavedPrefixes):
    def write(self, tokens: NDArray[np.int32], blocks: Blocks) -> Saved | None:
        time.sleep(0.3)
        return super().write(tokens, blocks)


def test_a_request_that_needs_the_room_of_what_is_being_saved_gets_it(
    random_model: Path, tmp_path: Path
) -> None:
    file = _native.gguf_open(str(random_model))
    spec = models.load_spec(file, 1024)
    backend = NativeBackend(file, spec, n_threads=1, n_ctx=1024, n_blocks=24, max_sequences=2)
    engine = Engine(backend, store=SlowStore(tmp_path, "key", 1 << 30))
    ask(engine, PROMPT, 1)
    answer, _ = ask(engine, PROMPT[::-1], 8)  # all 24 blocks, while the first are being written
    assert len(answer) == 8
    engine.close()


def test_saving_goes_on_while_the_sequence_is_used(random_model: Path, tmp_path: Path) -> None:
    engine = start(random_model, tmp_path)
    answer, _ = ask(engine, PROMPT)
    for _ in range(5):  # the same blocks, at once
        answer, _ = ask(engine, [*PROMPT, *answer], 20)
    until_saved(engine)
    engine.close()
    turn = [*PROMPT, *answer]
    assert once(random_model, tmp_path, turn)[0] == once(random_model, None, turn)[0]
