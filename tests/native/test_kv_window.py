"""A KV window: the first 32 tokens and the last N are seen, texts have no end, memory does."""

from __future__ import annotations

import argparse
import inspect
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference
import tiny
from numpy.typing import NDArray

import edgeinfer
from edgeinfer import _native
from edgeinfer.backends.base import ENDLESS, Batch, SeqId
from edgeinfer.backends.native import NativeBackend
from edgeinfer.errors import ContextLengthExceeded, InvalidRequest

WINDOW = 100
SEEN = WINDOW + 32
N = 700  # tokens; attention sums in splits of 256
# both rope styles, norms, soft caps, a layer without positions, windowed layers beside, partial long-rope
CASES = ("llama", "qwen3", "gemma2", "gemma3", "smollm3", "phi3", "olmo2-windows")
Opener = Callable[..., NativeBackend]


@pytest.fixture(
    scope="module",
    params=[*((case, "f16") for case in CASES), ("llama", "q8_0"), ("qwen3", "iq4_nl")],
    ids="-".join,
)
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param


@pytest.fixture(scope="module")
def path(case: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_gguf(tmp_path_factory.mktemp("model") / "model.gguf", case[0], "F16")


@pytest.fixture(scope="module")
def opener(case: tuple[str, str], path: Path) -> Opener:
    def open_backend(window: int = WINDOW, n_threads: int = 2, n_blocks: int = 100) -> NativeBackend:
        spec = replace(tiny.CASES[case[0]].spec, kv_window=window)
        file = _native.gguf_open(str(path))
        return NativeBackend(
            file, spec, n_threads=n_threads, n_ctx=ENDLESS, kv_type=case[1], n_blocks=n_blocks
        )

    return open_backend


@pytest.fixture(scope="module")
def expected(opener: Opener) -> NDArray[np.float32]:
    """Logits after each of N tokens, in one step."""
    backend = opener()
    return append(backend, backend.open(), tiny.token_ids(N))


def append(backend: NativeBackend, seq: SeqId, tokens: list[int]) -> NDArray[np.float32]:
    starts, rows = np.array([0, len(tokens)], np.int32), np.arange(len(tokens), dtype=np.int32)
    logits = np.empty((len(tokens), backend.traits.n_vocab), np.float32)
    backend.forward(Batch((seq,), np.array(tokens, np.int32), starts, rows), logits)
    return logits


def same(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return np.array_equal(a.view(np.uint32), b.view(np.uint32))


def test_logits_are_those_of_a_slow_and_obvious_model(
    case: tuple[str, str], path: Path, expected: NDArray[np.float32]
) -> None:
    spec = replace(tiny.CASES[case[0]].spec, kv_window=WINDOW)
    n = 280
    theirs = reference.logits(spec, reference.read_tensors(path), tiny.token_ids(n))
    difference = np.abs(expected[:n] - theirs).max(axis=1) / np.abs(theirs).max()
    print(f"until nothing is left out {difference[:SEEN].max():.1e}, then {difference[SEEN:].max():.1e}")
    assert difference[SEEN:].max() < max(3 * difference[:SEEN].max(), 1e-3)
    if case[1] == "iq4_nl":
        return  # four bits of random keys say too little for the next
    plain = reference.logits(replace(spec, kv_window=0), reference.read_tensors(path), tiny.token_ids(n))
    made = np.abs(plain - theirs).max() / np.abs(theirs).max()
    assert made > 20 * difference.max(), "the window makes no difference that could be seen"


def test_nothing_changes_before_something_is_left_out(opener: Opener, expected: NDArray[np.float32]) -> None:
    plain = opener(window=0)
    assert same(append(plain, plain.open(), tiny.token_ids(SEEN)), expected[:SEEN])


@pytest.mark.parametrize("n_threads", [1, 4])
def test_steps_and_threads_change_no_bit(
    opener: Opener, expected: NDArray[np.float32], n_threads: int
) -> None:
    rng = random.Random(n_threads)
    backend = opener(n_threads=n_threads, n_blocks=14)  # no more than the window and a step
    seq, ids, at = backend.open(), tiny.token_ids(N), 0
    while at < N:
        n = rng.choice([1, 1, 2, 7, 33, 150])
        rows = append(backend, seq, ids[at : at + n])
        assert same(rows, expected[at : at + n]), f"{n} tokens at {at}"
        at += n


def test_forks_and_snapshots_need_the_sinks_and_a_window(
    opener: Opener, expected: NDArray[np.float32]
) -> None:
    ids, backend = tiny.token_ids(N), opener(n_blocks=16)
    seq = backend.open()
    for at in range(0, 600, 50):
        append(backend, seq, ids[at : at + 50])
    fork = backend.open()
    assert backend.fork(seq, fork, 200) == 0
    assert backend.fork(seq, fork, 590) == 590
    blocks = [tuple(np.array(part) for part in block) for block in backend.snapshot(fork)]
    assert any(part.size == 0 for part in blocks[1])
    assert same(append(backend, fork, ids[590:]), expected[590:])
    backend.close(fork)
    backend.close(seq)
    restored = backend.open()
    assert backend.restore(restored, 580, blocks) == 580
    assert same(append(backend, restored, ids[580:]), expected[580:])


def test_a_text_of_ten_contexts_needs_the_blocks_of_a_window(tmp_path: Path) -> None:
    path = tiny.write_gguf(tmp_path / "model.gguf", "llama", "Q8_0")
    spec = replace(tiny.CASES["llama"].spec, kv_window=WINDOW)
    n_blocks = (32 + WINDOW + 64) // 32 + 2
    backend = NativeBackend(_native.gguf_open(str(path)), spec, n_threads=2, n_ctx=ENDLESS, n_blocks=n_blocks)
    seq = backend.open()
    for _ in range(10 * spec.n_ctx_train // 64):
        append(backend, seq, tiny.token_ids(64))
    assert np.isfinite(append(backend, seq, [1])).all()


def test_answers_go_on_behind_the_end_of_the_context(tmp_path: Path) -> None:
    path = tiny.write_gguf(tmp_path / "model.gguf", "llama", "Q8_0")
    n_ctx = tiny.CASES["llama"].spec.n_ctx_train
    prompt = tiny.token_ids(n_ctx - 20)

    def answer(model: edgeinfer.Model) -> list[tuple[int, float]]:
        tokens = model.generate(
            prompt, max_tokens=100, temperature=0, logit_bias=dict.fromkeys(ends, -np.inf)
        )
        return [(token.id, token.logprob) for token in tokens]

    with edgeinfer.load(path, threads=2) as plain:
        ends = plain.tokenizer.eog_ids
        assert len(answer(plain)) == 20
        with pytest.raises(ContextLengthExceeded):
            plain.logits([*prompt, *prompt])
    with edgeinfer.load(path, threads=2, kv_window=WINDOW) as model:
        first = answer(model)
        assert len(first) == 100
        assert answer(model) == first  # from the prefix cache
        assert model.logits([*prompt, *prompt]).shape[0] == 2 * len(prompt)


def test_a_window_that_the_model_was_not_trained_for_is_refused(random_model: Path) -> None:
    n_ctx = tiny.CASES["llama"].spec.n_ctx_train
    for window in (31, n_ctx - 31):
        with pytest.raises(InvalidRequest, match=f"kv_window must be from 32 to {n_ctx - 32}"):
            edgeinfer.load(random_model, kv_window=window)
    edgeinfer.load(random_model, kv_window=n_ctx - 32).close()
    for wrong in (0, -1):
        with pytest.raises(InvalidRequest, match="kv_window must be"):
            edgeinfer.load(random_model, kv_window=wrong)
    with pytest.raises(InvalidRequest, match="exclude each other"):
        edgeinfer.load(random_model, kv_window=64, context_length=256)


def test_long_texts_are_foretold_better_than_in_pieces_of_the_same_size() -> None:
    text = inspect.getsource(argparse)[:20000]  # something that the tiny model knows
    with edgeinfer.load(context_length=256) as model:
        in_pieces = model.perplexity(text)
    with edgeinfer.load(kv_window=256 - 32) as model:
        whole = model.perplexity(text)
    print(f"{in_pieces:.2f} in pieces, {whole:.2f} with a window")
    assert whole < 0.98 * in_pieces
