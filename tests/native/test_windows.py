"""Windowed layers keep their window's blocks only, and no bit of any result tells."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import tiny
from edgeinfer.models.spec import DecoderSpec
from numpy.typing import NDArray

from edgeinfer import _native
from edgeinfer.backends.base import Batch, SeqId
from edgeinfer.backends.native import NativeBackend
from edgeinfer.errors import NoRoom

N = 900  # tokens; attention sums in splits of 256
CASES: dict[str, tuple[str, DecoderSpec]] = {
    "gemma3": ("gemma3", tiny.CASES["gemma3"].spec),
    "all-windowed": ("llama", replace(tiny.CASES["llama"].spec, layer_window=(48, 48))),
    "two-windows": ("gemma2", replace(tiny.CASES["gemma2"].spec, layer_window=(48, 0, 100))),
}
Opener = Callable[..., NativeBackend]


@pytest.fixture(
    scope="module", params=[(case, kv) for case in CASES for kv in _native.KV_TYPES], ids="-".join
)
def opener(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Opener:
    name, kv_type = request.param
    case, spec = CASES[name]
    path = tiny.write_gguf(tmp_path_factory.mktemp("model") / "model.gguf", case, "Q8_0")

    def open_backend(n_window_blocks: int, n_blocks: int = 80, n_threads: int = 2) -> NativeBackend:
        blocks = [n_window_blocks if span.window else n_blocks for span in spec.spans]
        file = _native.gguf_open(str(path))
        return NativeBackend(file, spec, n_threads=n_threads, n_ctx=2048, kv_type=kv_type, n_blocks=blocks)

    return open_backend


def append(backend: NativeBackend, *slices: tuple[SeqId, list[int]]) -> NDArray[np.uint32]:
    """Logits after every token, as bits."""
    tokens = np.array([t for _, new in slices for t in new], np.int32)
    starts = np.cumsum([0] + [len(new) for _, new in slices]).astype(np.int32)
    logits = np.empty((len(tokens), backend.traits.n_vocab), np.float32)
    rows = np.arange(len(tokens), dtype=np.int32)
    backend.forward(Batch(tuple(s for s, _ in slices), tokens, starts, rows), logits)
    return logits.view(np.uint32)


def in_steps(backend: NativeBackend, seq: SeqId, tokens: list[int], steps: list[int]) -> NDArray[np.uint32]:
    """The same, in steps of random sizes."""
    rng, rows, at = random.Random(len(tokens)), [], 0
    while at < len(tokens):
        n = rng.choice(steps)
        rows.append(append(backend, (seq, tokens[at : at + n])))
        at += n
    return np.concatenate(rows)


def test_a_long_sequence_in_a_pool_that_holds_only_windows_is_the_same(opener: Opener) -> None:
    ids = tiny.token_ids(N)
    large, small = opener(80), opener(14, n_threads=3)
    expected = append(large, (large.open(), ids))
    assert np.array_equal(in_steps(small, small.open(), ids, [1, 2, 31, 100]), expected)
    together = small.open()
    with pytest.raises(NoRoom):
        append(small, (together, ids))
    assert np.array_equal(in_steps(small, together, ids, [64]), expected)


def test_forks_and_truncations_give_what_is_there_and_go_on_bit_for_bit(opener: Opener) -> None:
    large, small = opener(400, n_blocks=400), opener(30, n_blocks=120)
    rng = random.Random(6)
    ours: dict[SeqId, list[int]] = {small.open(): []}
    answers = {"all": 0, "none": 0}
    for _ in range(60):
        seq = rng.choice(list(ours))
        n = rng.choice([len(ours[seq]) - rng.randint(0, 40), rng.randint(0, len(ours[seq]))])
        n = max(0, n)
        if rng.random() < 0.3 and len(ours) < 4:
            target = small.open()
            kept = small.fork(seq, target, n)
            ours[target] = ours[seq][:kept]
        elif rng.random() < 0.5:
            kept = small.truncate(seq, n)
            ours[seq] = ours[seq][:kept]
        else:
            kept = n
        assert kept in (0, n)
        answers["all" if kept == n else "none"] += 1
        new = [rng.randrange(tiny.N_VOCAB) for _ in range(rng.choice([1, 40, 120]))]
        try:
            got = append(small, (seq, new))
        except NoRoom:
            small.close(seq)
            del ours[seq]
            ours[small.open()] = []
            continue
        ours[seq] = ours[seq] + new
        fresh = large.open()
        assert np.array_equal(append(large, (fresh, ours[seq]))[-len(new) :], got)
        large.close(fresh)
    assert min(answers.values()) > 3, answers


def test_a_snapshot_without_given_back_blocks_restores_where_its_windows_are(opener: Opener) -> None:
    ids = tiny.token_ids(N)
    small = opener(9)
    seq = small.open()
    expected = in_steps(small, seq, ids, [50])
    blocks = [tuple(np.array(part) for part in block) for block in small.snapshot(seq)]
    assert any(part.size == 0 for part in blocks[0]), "nothing was given back: make the pool smaller"
    small.close(seq)
    restored = small.open()
    assert small.restore(restored, 300, blocks) == 0
    for n in (N, N - 1, N - 17):
        assert small.restore(restored, n, iter(blocks)) == n
        rest = [*ids[n:], 5, 6]
        rows = append(small, (restored, rest))
        assert np.array_equal(rows[: N - n], expected[n:])
        small.close(restored)
        restored = small.open()
    assert small.restore(restored, N, blocks[:-3]) == 0


def test_what_a_snapshot_of_a_fork_shows_is_not_given_back_before_it_is_closed(opener: Opener) -> None:
    small = opener(9)
    source, seq = small.open(), small.open()
    append(small, (source, tiny.token_ids(200)))
    assert small.fork(source, seq, 200) == 200
    shown = small.snapshot(seq)
    copies = [[np.array(part) for part in block] for block in shown]
    other = small.open()
    with pytest.raises(NoRoom):
        append(small, (other, tiny.token_ids(200)))
    append(small, (other, tiny.token_ids(60)))
    for block, copy in zip(shown, copies, strict=True):
        assert all(map(np.array_equal, block, copy))
    small.close(seq)
    append(small, (other, tiny.token_ids(100)))
