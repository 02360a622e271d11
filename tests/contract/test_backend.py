"""What every backend must do, tried with random operations against fresh sequences.

To put a backend under this contract, add a maker of small ones to `BACKENDS`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tiny
from fakes import FakeBackend

from edgeinfer import _native
from edgeinfer.backends.base import Backend, Batch, SeqId
from edgeinfer.backends.native import NativeBackend
from edgeinfer.config.table import KvType
from edgeinfer.errors import NoRoom

Maker = Callable[[Path], Backend]  # gets a folder for files


def native(kv_type: KvType, case: str = "llama") -> Maker:
    def make(folder: Path) -> Backend:
        path = tiny.write_gguf(folder / "model.gguf", case, "Q4_K")
        spec = tiny.CASES[case].spec
        file = _native.gguf_open(str(path))
        return NativeBackend(file, spec, n_threads=2, n_ctx=64, kv_type=kv_type, n_blocks=8, max_sequences=8)

    return make


BACKENDS: dict[str, Maker] = {
    "fake": lambda folder: FakeBackend(n_blocks=24, block_size=4, n_ctx=64, max_sequences=8),
    **{f"native-{kv_type}": native(kv_type) for kv_type in get_args(KvType)},
    "native-windows": native("iq4_nl", "gemma3"),
}


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    made = BACKENDS[request.param](tmp_path)
    yield made
    made.shutdown()


def batch(*slices: tuple[SeqId, list[int]], rows: list[int] | None = None) -> Batch:
    """A batch of these slices; without `rows` every token wants logits."""
    tokens = [t for _, new in slices for t in new]
    starts = np.cumsum([0] + [len(new) for _, new in slices])
    wanted = range(len(tokens)) if rows is None else rows
    arrays = [np.array(list(values), dtype=np.int32) for values in (tokens, starts, wanted)]
    return Batch(tuple(seq for seq, _ in slices), *arrays)


def run(backend: Backend, b: Batch) -> np.ndarray:
    logits = np.full((len(b.rows), backend.traits.n_vocab), np.nan, dtype=np.float32)
    backend.forward(b, logits)
    return logits


def fresh_rows(backend: Backend, tokens: list[int]) -> np.ndarray:
    """Logits after every token, computed alone."""
    seq = backend.open()
    try:
        return run(backend, batch((seq, tokens)))
    finally:
        backend.close(seq)


def test_rows_equal_a_fresh_sequence_after_random_operations(backend: Backend) -> None:
    seed = 20261121
    print(f"seed {seed}")
    rng = random.Random(seed)
    model: dict[SeqId, list[int]] = {}
    n_rows = n_full = 0
    for _ in range(300):
        action = rng.choice(["open", "fork", "truncate", "append", "append", "append", "close"])
        seqs = sorted(model)
        if action == "open" and len(seqs) < 5:
            model[backend.open()] = []
        elif action == "fork" and seqs and len(seqs) < 5:
            src, n = rng.choice(seqs), rng.randrange(20)
            dst = backend.open()
            kept = backend.fork(src, dst, n)
            assert 0 <= kept <= min(n, len(model[src]))
            model[dst] = model[src][:kept]
        elif action == "truncate" and seqs:
            seq, n = rng.choice(seqs), rng.randrange(20)
            kept = backend.truncate(seq, n)
            assert 0 <= kept <= min(n, len(model[seq]))
            model[seq] = model[seq][:kept]
        elif action == "append" and seqs:
            chosen = [s for s in rng.sample(seqs, rng.randint(1, len(seqs))) if len(model[s]) < 48]
            slices = [
                (s, [rng.randrange(backend.traits.n_vocab) for _ in range(rng.randint(1, 9))]) for s in chosen
            ]
            if not slices:
                continue
            try:
                got = run(backend, batch(*slices))
            except NoRoom:
                n_full += 1  # nothing may have changed: the rows below will tell
                continue
            row = 0
            for seq, new in slices:
                model[seq] = model[seq] + new
                backend_rows = got[row : row + len(new)]
                row += len(new)
                try:
                    expected = fresh_rows(backend, model[seq])[-len(new) :]
                except NoRoom:
                    continue
                n_rows += len(new)
                if backend.traits.row_invariant:
                    np.testing.assert_array_equal(backend_rows, expected)
                else:
                    np.testing.assert_allclose(backend_rows, expected, atol=5e-3)
        elif action == "close" and seqs:
            seq = rng.choice(seqs)
            backend.close(seq)
            del model[seq]
    assert n_rows > 200
    assert n_full > 0, "the pool was never full: make it smaller"


def test_closing_everything_gives_all_room_back(backend: Backend) -> None:
    before = backend.room()
    a, b = backend.open(), backend.open()
    run(backend, batch((a, [1, 2, 3, 4, 5, 6])))
    backend.fork(a, b, 5)
    run(backend, batch((a, [7]), (b, [8])))
    assert backend.room() < before
    backend.close(a)
    backend.close(b)
    assert backend.room() == before


def test_room_without_some_sequences_is_the_room_once_they_are_closed(backend: Backend) -> None:
    a, b, c = backend.open(), backend.open(), backend.open()
    run(backend, batch((a, [1] * 40), (b, [2] * 50), rows=[0]))
    backend.fork(a, c, 33)  # shares blocks with a
    expected = {}
    for without in ((a,), (c,), (a, c), (a, b, c)):
        expected[without] = backend.room(without=without)
    assert backend.room() <= expected[c,] <= expected[a, c] < expected[a, b, c]
    backend.close(c)
    assert backend.room() == expected[c,]
    backend.close(a)
    assert backend.room() == expected[a, c]
    backend.close(b)
    assert backend.room() == expected[a, b, c]


def test_a_full_pool_leaves_every_sequence_as_it_was(backend: Backend) -> None:
    a, b = backend.open(), backend.open()
    run(backend, batch((a, [1, 2, 3])))
    fillers = []
    while backend.room() >= 40:
        fillers.append(backend.open())
        run(backend, batch((fillers[-1], [5] * 20)))
    with pytest.raises(NoRoom):
        run(backend, batch((a, [4]), (b, [6] * (backend.room() + 8)), rows=[0]))
    for seq in fillers:
        backend.close(seq)
    np.testing.assert_array_equal(run(backend, batch((a, [4]))), fresh_rows(backend, [1, 2, 3, 4])[-1:])


def test_opening_too_many_sequences_is_no_room(backend: Backend) -> None:
    for _ in range(backend.traits.max_sequences):
        backend.open()
    with pytest.raises(NoRoom):
        backend.open()


def test_only_the_wanted_rows_are_written(backend: Backend) -> None:
    seq = backend.open()
    got = run(backend, batch((seq, [3, 1, 2, 5]), rows=[1, 3]))
    np.testing.assert_array_equal(got, fresh_rows(backend, [3, 1, 2, 5])[[1, 3]])


def test_a_restored_snapshot_goes_on_like_the_sequence(backend: Backend) -> None:
    tokens = [(5 * i) % 29 for i in range(24)]
    source = backend.open()
    run(backend, batch((source, tokens)))
    expected = run(backend, batch((source, [3, 4])))
    blocks = [tuple(np.array(part) for part in block) for block in backend.snapshot(source)]
    backend.close(source)
    for n in (24, 23, 9, 1):
        restored = backend.open()
        assert backend.restore(restored, n, blocks[: -(-n // backend.traits.kv_block_tokens)]) == n
        rest = [*tokens[n:], 3, 4]
        logits = run(backend, batch((restored, rest)))
        np.testing.assert_array_equal(logits[-2:], expected)
        backend.close(restored)


def test_a_snapshot_that_does_not_fit_changes_nothing(backend: Backend) -> None:
    source = backend.open()
    run(backend, batch((source, [1] * 8)))
    block = tuple(np.array(part) for part in backend.snapshot(source)[0])
    size = backend.traits.kv_block_tokens
    room, target = backend.room(), backend.open()
    with pytest.raises(NoRoom):
        backend.restore(target, room + size, [block] * (room // size + 1))
    assert backend.room() == room
    backend.close(target)
