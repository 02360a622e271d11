"""What is measured of a model, and the runner that measures it on our engine.

A runner keeps a model open and answers single measurements, so that two runners can take turns.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from edgeinfer.backends.base import Batch, SeqId

if TYPE_CHECKING:
    from edgeinfer.backends.native import NativeBackend

Kind = Literal["prefill", "decode", "batch", "verify"]
STEPS = {"prefill": 1, "decode": 16, "batch": 8, "verify": 4}
BATCH_PROMPT = 16  # tokens that each sequence of a batch has read before
STEP_MARGIN = 256  # tokens of context beside the longest depth


@dataclass(frozen=True)
class Measure:
    """One thing to measure.

    prefill: `n` tokens of a new sequence in chunks of 512, logits of the last; decode: single tokens
    after `depth`; batch: one token of each of `n` sequences; verify: `n` tokens of one sequence with
    the logits of all, what speculation asks for.
    """

    kind: Kind
    n: int
    depth: int = 0

    @property
    def name(self) -> str:
        """As reports call it."""
        return f"decode@{self.depth}" if self.kind == "decode" else f"{self.kind}-{self.n}"

    @property
    def tokens(self) -> int:
        """Tokens of one measurement."""
        return self.n * STEPS[self.kind]


class Runner(Protocol):
    """Anything that can measure."""

    def seconds(self, measure: Measure) -> float:
        """How long one measurement took: STEPS[kind] steps."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class EngineRunner:
    """Our engine, through the backend seam."""

    def __init__(self, backend: NativeBackend, chunk: int = 512) -> None:
        self.backend = backend
        self._n_vocab = backend.traits.n_vocab
        self._chunk = chunk
        self._deep: dict[int, SeqId] = {}
        self._crowd: list[SeqId] = []

    def seconds(self, measure: Measure) -> float:
        """See Runner."""
        if measure.kind == "prefill":
            sequence = self.backend.open()
            seconds = self._timed_read(sequence, measure.n)
            self.backend.close(sequence)
            return seconds
        if measure.kind == "batch":
            return self._batch(measure.n)
        return self._after(measure)

    def close(self) -> None:
        """See Runner."""
        self.backend.shutdown()

    def _tokens(self, n: int, salt: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return ((np.arange(n, dtype=np.int64) * 7919 + 31 * salt + 5) % self._n_vocab).astype(np.int32)

    def _forward(self, sequences: tuple[SeqId, ...], counts: int, rows: range, salt: int = 0) -> None:
        """`counts` tokens of each sequence; logits for some rows of the step."""
        n = counts * len(sequences)
        starts = np.arange(len(sequences) + 1, dtype=np.int32) * counts
        logits = np.empty((len(rows), self._n_vocab), np.float32)
        batch = Batch(
            sequences, self._tokens(n, salt), starts.astype(np.int32), np.array(rows, dtype=np.int32)
        )
        self.backend.forward(batch, logits)

    def _timed_read(self, sequence: SeqId, n: int) -> float:
        start = time.perf_counter()
        for done in range(0, n, self._chunk):
            count = min(self._chunk, n - done)
            self._forward((sequence,), count, range(count - 1, count) if done + count == n else range(0))
        return time.perf_counter() - start

    def _after(self, measure: Measure) -> float:
        """Decode or verify after some depth; the sequence is cut back to it afterwards."""
        depth = max(measure.depth, 1)
        if depth not in self._deep:
            self._deep[depth] = self.backend.open()
            self._timed_read(self._deep[depth], depth)
        sequence = self._deep[depth]
        start = time.perf_counter()
        for step in range(STEPS[measure.kind]):
            self._forward((sequence,), measure.n, range(measure.n), salt=step)
        seconds = time.perf_counter() - start
        self.backend.truncate(sequence, depth)
        return seconds

    def _batch(self, n: int) -> float:
        while len(self._crowd) < n:
            self._crowd.append(self.backend.open())
            self._timed_read(self._crowd[-1], BATCH_PROMPT)
        sequences = tuple(self._crowd[:n])
        start = time.perf_counter()
        for step in range(STEPS["batch"]):
            self._forward(sequences, 1, range(n), salt=step)
        seconds = time.perf_counter() - start
        for sequence in sequences:
            self.backend.truncate(sequence, BATCH_PROMPT)
        return seconds
