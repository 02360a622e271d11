"""Law 1: the logits of a token depend only on its own sequence and the KV type, bit for bit.

Every test plays the same random requests twice, once alone in the plainest way, and compares all logits of
all tokens with `==`. EXACTNESS_REQUESTS=50 plays more of them (10 by default).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

import edgeinfer
from edgeinfer import _native
from edgeinfer.backends.base import Backend, Batch, SeqId
from edgeinfer.backends.native import NativeBackend
from edgeinfer.config.table import KvType
from edgeinfer.engine.sampler import sample
from edgeinfer.engine.sampling import Sampling

N_REQUESTS = int(os.environ.get("EXACTNESS_REQUESTS", "10"))
N_CTX = 640  # attention sums in splits of 256 tokens: long prompts have three
MODELS = [
    ("llama", "Q4_K", "f16"),
    ("llama", "Q4_K", "q8_0"),
    ("llama", "Q4_K", "iq4_nl"),
    ("gemma3", "Q6_K", "f16"),
    ("qwen3moe", "Q8_0", "iq4_nl"),
    ("phi3", "F16", "f16"),
    ("olmo2-windows", "IQ4_XS", "q8_0"),
]


@dataclass(frozen=True)
class Ask:
    """A request: a prompt, how many tokens it wants and how they are chosen."""

    prompt: tuple[int, ...]
    n_new: int
    sampling: Sampling
    seed: int


@dataclass
class Play:
    """An ask on its way: its tokens so far and the logits after each of them."""

    ask: Ask
    seq: SeqId
    tokens: list[int]
    rows: list[NDArray[np.float32]] = field(default_factory=list)

    def take(self, rows: NDArray[np.float32]) -> None:
        """Keep new rows; when all tokens are computed, choose the next one."""
        self.rows.extend(rows)
        if len(self.rows) == len(self.tokens) and not self.done:
            self.tokens.append(sample(self.rows[-1], self.ask.sampling, self.tokens, self.ask.seed).id)

    @property
    def done(self) -> bool:
        return len(self.tokens) == len(self.ask.prompt) + self.ask.n_new

    @property
    def finished(self) -> bool:
        return self.done and len(self.rows) == len(self.tokens)


@dataclass(frozen=True)
class Answer:
    tokens: list[int]
    rows: NDArray[np.float32]  # (n_tokens, n_vocab)


def random_asks(n: int, seed: int) -> list[Ask]:
    """Half of them greedy; prompts of 1 to 500 tokens, most of them short."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    asks = []
    for i in range(n):
        length = rng.randint(257, 500) if i % 5 == 4 else rng.randint(1, 100)
        prompt = tuple(tiny.token_ids(length, f"{seed}/{i}"))
        sampling = Sampling(temperature=0.8 if i % 2 else 0.0, seed=i)
        asks.append(Ask(prompt, rng.randint(1, 40), sampling, rng.getrandbits(64)))
    return asks


def forward(backend: Backend, slices: list[tuple[Play, int]]) -> None:
    """Append the next tokens of some plays, all their logits wanted."""
    news = [play.tokens[len(play.rows) : len(play.rows) + n] for play, n in slices]
    starts = np.cumsum([0] + [len(new) for new in news]).astype(np.int32)
    tokens = np.array([t for new in news for t in new], np.int32)
    rows = np.full((len(tokens), backend.traits.n_vocab), np.nan, np.float32)
    batch = Batch(tuple(p.seq for p, _ in slices), tokens, starts, np.arange(len(tokens), dtype=np.int32))
    backend.forward(batch, rows)
    for (play, _), start, end in zip(slices, starts, starts[1:], strict=False):
        play.take(rows[start:end])


def start(backend: Backend, ask: Ask) -> Play:
    return Play(ask, backend.open(), list(ask.prompt))


def finish(backend: Backend, play: Play) -> Answer:
    backend.close(play.seq)
    return Answer(play.tokens[: len(play.rows)], np.array(play.rows))


def alone(backend: Backend, ask: Ask, chunk: int = 10**6) -> Answer:
    """Play an ask with nothing beside it, its prompt in chunks."""
    play = start(backend, ask)
    while not play.finished:
        forward(backend, [(play, chunk)])
    return finish(backend, play)


def crowded(backend: Backend, asks: list[Ask], seed: int, n_places: int = 16) -> list[Answer]:
    """Play asks in batches of up to 16, in random chunks, among others that join and leave half-way."""
    rng = random.Random(seed)
    others = random_asks(2 * len(asks), seed + 1)
    waiting: list[tuple[int | None, Ask]] = [*enumerate(asks), *((None, ask) for ask in others)]
    rng.shuffle(waiting)
    playing: list[tuple[int | None, Play]] = []
    answers: dict[int, Answer] = {}
    while len(answers) < len(asks):
        while waiting and len(playing) < n_places:
            i_ask, ask = waiting.pop()
            playing.append((i_ask, start(backend, ask)))
        rng.shuffle(playing)
        forward(backend, [(play, rng.choice([1, 2, 5, 16, 33, 64])) for _, play in playing])
        for i_ask, play in list(playing):
            leaves = i_ask is None and rng.random() < 0.1
            if play.finished or leaves:
                playing.remove((i_ask, play))
                answer = finish(backend, play)
                if i_ask is not None:
                    answers[i_ask] = answer
    return [answers[i] for i in range(len(asks))]


def assert_same(ours: list[Answer], expected: list[Answer]) -> None:
    for i, (a, b) in enumerate(zip(ours, expected, strict=True)):
        same = (a.rows.view(np.uint32) == b.rows.view(np.uint32)).all(axis=-1)
        assert same.all(), f"request {i}: the logits after token {int(np.argmin(same))} differ"
        assert a.tokens == b.tokens


@dataclass(frozen=True)
class Model:
    """A file, the KV type, the asks and what each gets when played alone."""

    case: str
    path: Path
    kv_type: KvType
    asks: list[Ask]
    expected: list[Answer]

    def backend(self, n_threads: int, n_blocks: int = 600) -> NativeBackend:
        file = _native.gguf_open(str(self.path))
        spec = tiny.CASES[self.case].spec
        return NativeBackend(
            file, spec, n_threads=n_threads, n_ctx=N_CTX, kv_type=self.kv_type, n_blocks=n_blocks
        )


@pytest.fixture(scope="module", params=MODELS, ids="-".join)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    case, tensor_type, kv_type = request.param
    path = tiny.write_gguf(tmp_path_factory.mktemp("model") / "model.gguf", case, tensor_type)
    asks = random_asks(N_REQUESTS, 20261121)
    made = Model(case, path, kv_type, asks, [])
    backend = made.backend(n_threads=1)
    made.expected.extend(alone(backend, ask) for ask in asks)
    backend.shutdown()
    return made


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_a_crowd_that_joins_and_leaves_changes_no_bit(model: Model, n_threads: int) -> None:
    backend = model.backend(n_threads)
    assert_same(crowded(backend, model.asks, seed=n_threads), model.expected)


@pytest.mark.parametrize("chunk", [1, 7, 64, 512])
def test_prefill_chunks_change_no_bit(model: Model, chunk: int) -> None:
    backend = model.backend(n_threads=2)
    asks = model.asks[: 5 if chunk == 1 else None]
    assert_same([alone(backend, ask, chunk) for ask in asks], model.expected[: len(asks)])


@pytest.mark.parametrize("n_threads", [1, 4])
def test_asking_for_some_rows_in_any_order_changes_no_bit(model: Model, n_threads: int) -> None:
    """Two sequences at once, in chunks; of each step no row, few or many, some of them twice."""
    backend = model.backend(n_threads)
    rng = random.Random(5)
    for answers in zip(model.expected, reversed(model.expected), strict=True):
        sequences = (backend.open(), backend.open())
        at = [0, 0]
        while any(n < len(answer.rows) for n, answer in zip(at, answers, strict=True)):
            size = rng.choice([1, 3, 17, 100, 300])
            news = [range(n, min(n + size, len(a.rows))) for n, a in zip(at, answers, strict=True)]
            going = [i for i in (0, 1) if news[i]]
            new = [(i, position) for i in going for position in news[i]]
            rows = [rng.randrange(len(new)) for _ in range(rng.choice([0, 1, 2, 7, 40]))]
            logits = np.full((len(rows), backend.traits.n_vocab), np.nan, np.float32)
            tokens = np.array([answers[i].tokens[position] for i, position in new], np.int32)
            starts = np.cumsum([0] + [len(news[i]) for i in going]).astype(np.int32)
            batch = Batch(tuple(sequences[i] for i in going), tokens, starts, np.array(rows, np.int32))
            backend.forward(batch, logits)
            for row, ours in zip(rows, logits, strict=True):
                i, position = new[row]
                assert np.array_equal(ours.view(np.uint32), answers[i].rows[position].view(np.uint32))
            at = [n.stop for n in news]
        for sequence in sequences:
            backend.close(sequence)


def test_forked_and_truncated_sequences_continue_bit_for_bit(model: Model) -> None:
    backend = model.backend(n_threads=2)
    for ask, expected in zip(model.asks, model.expected, strict=True):
        whole = start(backend, ask)
        forward(backend, [(whole, len(ask.prompt))])
        n = len(ask.prompt) // 2
        branch = Play(ask, backend.open(), list(ask.prompt), list(whole.rows[:n]))
        assert backend.fork(whole.seq, branch.seq, n) == n
        whole.tokens[n:] = tiny.token_ids(max(1, len(ask.prompt) - n), "elsewhere")
        del whole.rows[backend.truncate(whole.seq, n) :]
        while not branch.finished:
            forward(
                backend,
                [(branch, 64), (whole, 64)] if len(whole.rows) < len(whole.tokens) else [(branch, 64)],
            )
        backend.close(whole.seq)
        assert_same([finish(backend, branch)], [expected])


def test_every_position_of_a_sampled_token_is_the_same_again(model: Model) -> None:
    backend = model.backend(n_threads=1)
    ask = Ask(model.asks[0].prompt, 30, Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=3), 3)
    first = alone(backend, ask)
    again = Ask(tuple(first.tokens[:-10]), 10, ask.sampling, ask.seed)
    assert alone(backend, again).tokens == first.tokens


def logits_in_chunks(path: Path, case: str, chunk: int) -> NDArray[np.float32]:
    spec = tiny.CASES[case].spec
    backend = NativeBackend(_native.gguf_open(str(path)), spec, n_threads=2, n_ctx=N_CTX)
    ask = Ask(tuple(tiny.token_ids(70)), 0, Sampling(), 0)
    return alone(backend, ask, chunk).rows


@pytest.mark.parametrize("tensor_type", tiny.TYPES)
def test_decoding_equals_prefill_for_every_tensor_type(tensor_type: str, tmp_path: Path) -> None:
    path = tiny.write_gguf(tmp_path / "model.gguf", "llama", tensor_type)
    at_once = logits_in_chunks(path, "llama", 70)
    for chunk in (1, 3, 4, 5, 16, 17):
        assert np.array_equal(logits_in_chunks(path, "llama", chunk), at_once), f"chunks of {chunk}"


_HASH_LOGITS = """
import hashlib, itertools, json, sys
from dataclasses import replace
import numpy as np, tiny
import edgeinfer
from edgeinfer import _native
from edgeinfer.backends.base import Batch
from edgeinfer.backends.native import NativeBackend

ids = np.array(tiny.token_ids(300), np.int32)
ends, rows = np.array([0, 300], np.int32), np.arange(300, dtype=np.int32)
hashes = {"target": _native.target()}
for path in sys.argv[1:]:
    case = path.split("/")[-1].split("+")[0]
    kinds = [("f16", 0)] if case == "llama" else itertools.product(_native.KV_TYPES, (0, 100))
    for kv_type, window in kinds:
        spec = replace(tiny.CASES[case].spec, kv_window=window)
        file = _native.gguf_open(path)
        backend = NativeBackend(file, spec, n_threads=2, n_ctx=512, kv_type=kv_type)
        logits = np.empty((300, tiny.N_VOCAB), np.float32)
        backend.forward(Batch((backend.open(),), ids, ends, rows), logits)
        hashes[f"{path}, {kv_type}, window {window}"] = hashlib.sha256(logits.tobytes()).hexdigest()
print(json.dumps(hashes))
"""


def test_every_simd_target_gives_the_same_bits(tmp_path: Path) -> None:
    models = [("llama", t) for t in tiny.TYPES] + [("gemma3", "Q6_K"), ("qwen3moe", "Q8_0"), ("phi3", "F16")]
    paths = [str(tiny.write_gguf(tmp_path / f"{case}+{t}.gguf", case, t)) for case, t in models]
    answers = []
    for target in _native.targets():
        environment = os.environ | {"EDGEINFER_TARGET": target, "PYTHONPATH": str(Path(tiny.__file__).parent)}
        command = [sys.executable, "-P", "-c", _HASH_LOGITS, *paths]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        answers.append(json.loads(run.stdout))
        assert answers[-1].pop("target") == target
    for model in answers[0]:
        assert len({answer[model] for answer in answers}) == 1, model


@pytest.mark.parametrize("kv_type", get_args(KvType))
def test_streams_of_the_python_api_do_not_change_each_other(kv_type: KvType, tmp_path: Path) -> None:
    path = tiny.write_gguf(tmp_path / "model.gguf", "gemma2", "Q4_K")
    asks = random_asks(16, seed=7)

    def stream(model: edgeinfer.Model, ask: Ask) -> Iterator[edgeinfer.Token]:
        return model.generate(ask.prompt, max_tokens=ask.n_new, sampling=replace(ask.sampling, seed=ask.seed))

    with edgeinfer.load(path, threads=1, context_length=N_CTX, kv_type=kv_type) as model:
        expected = [[(t.id, t.logprob) for t in stream(model, ask)] for ask in asks]
    for threads in (2, 4):
        with edgeinfer.load(path, threads=threads, context_length=N_CTX, kv_type=kv_type) as model:
            together = [stream(model, ask) for ask in asks]
            assert [[(t.id, t.logprob) for t in tokens] for tokens in together] == expected
