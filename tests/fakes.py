"""A backend without a model: logits are a hash of the sequence, memory is paged like the real one's."""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from edgeinfer.backends.base import Batch, KvBlock, KvUse, SeqId, Traits
from edgeinfer.errors import Cancelled, NoRoom


class FakeBackend:
    """Deterministic and exact: equal sequences give equal logits.

    Whole blocks are shared by fork and the tail is copied at the next write, so that NoRoom comes when a
    paged cache would say it.
    """

    def __init__(
        self,
        *,
        n_vocab: int = 32,
        n_ctx: int = 256,
        n_blocks: int = 64,
        block_size: int = 4,
        max_sequences: int = 16,
        nan_after: int | None = None,
    ) -> None:
        self.traits = Traits(
            n_vocab=n_vocab,
            n_embd=n_vocab,
            pooling="none",
            n_ctx=n_ctx,
            max_sequences=max_sequences,
            kv_block_tokens=block_size,
            kv_format="fake",
            row_invariant=True,
            description="fake",
        )
        self.batches: list[Batch] = []
        self.closed = False
        self.gate: threading.Event | None = None  # when set, forward waits for it or for cancel
        self.entered = threading.Event()
        self._block_size = block_size
        self._n_blocks = n_blocks
        self._nan_after = nan_after
        self._tokens: dict[SeqId, list[int]] = {}
        self._tables: dict[SeqId, list[int]] = {}
        self._holders: Counter[int] = Counter()
        self._next = 0
        self._cancel = threading.Event()

    @property
    def n_open(self) -> int:
        return len(self._tokens)

    @property
    def n_blocks_used(self) -> int:
        return sum(1 for n in self._holders.values() if n > 0)

    def tokens_of(self, seq: SeqId) -> list[int]:
        return list(self._tokens[seq])

    def open(self) -> SeqId:
        if len(self._tokens) >= self.traits.max_sequences:
            raise NoRoom("all sequences are open")
        self._next += 1
        seq = SeqId(self._next)
        self._tokens[seq], self._tables[seq] = [], []
        return seq

    def fork(self, src: SeqId, dst: SeqId, n: int) -> int:
        assert not self._tokens[dst], "fork needs an empty sequence"
        kept = min(n, len(self._tokens[src]))
        self._tokens[dst] = self._tokens[src][:kept]
        self._tables[dst] = self._tables[src][: self._blocks(kept)]
        self._holders.update(self._tables[dst])
        return kept

    def truncate(self, seq: SeqId, n: int) -> int:
        kept = min(n, len(self._tokens[seq]))
        self._release(self._tables[seq][self._blocks(kept) :])
        self._tokens[seq] = self._tokens[seq][:kept]
        self._tables[seq] = self._tables[seq][: self._blocks(kept)]
        return kept

    def close(self, seq: SeqId) -> None:
        self._release(self._tables.pop(seq))
        del self._tokens[seq]

    def snapshot(self, seq: SeqId) -> list[KvBlock]:
        tokens = self._tokens[seq]
        size = self._block_size
        padded = tokens + [0] * (-len(tokens) % size)
        return [(np.array(padded[i : i + size], np.uint8),) for i in range(0, len(padded), size)]

    def restore(self, seq: SeqId, n: int, blocks: Iterable[KvBlock]) -> int:
        held = [int(t) for (block,) in blocks for t in block][:n]
        self._reserve((seq,), [held])
        self._tokens[seq] = held
        return len(held)

    def room(self, without: Collection[SeqId] = ()) -> int:
        held = {block for seq, table in self._tables.items() if seq not in without for block in table}
        return (self._n_blocks - len(held)) * self._block_size

    def kv_use(self, running: Collection[SeqId]) -> KvUse:
        held = Counter(block for table in self._tables.values() for block in set(table))
        shared = {block for block, n in held.items() if n > 1}
        own = {block for seq in running for block in self._tables[seq]} - shared
        n_kept = len(held) - len(shared) - len(own)
        return KvUse(len(own), len(shared), n_kept, self._n_blocks - len(held))

    def forward(self, batch: Batch, out: NDArray[np.float32]) -> None:
        self._cancel.clear()
        self.batches.append(batch)
        self.entered.set()
        if self.gate is not None:
            while not self.gate.wait(0.001):
                if self._cancel.is_set():
                    raise Cancelled("stopped between layers")
        assert out.shape == (len(batch.rows), self.traits.row_width)
        slices = [batch.tokens[a:b].tolist() for a, b in zip(batch.starts, batch.starts[1:], strict=False)]
        self._reserve(batch.sequences, slices)
        row = 0
        for i, (seq, new) in enumerate(zip(batch.sequences, slices, strict=True)):
            for j, token in enumerate(new):
                self._tokens[seq].append(token)
                assert len(self._tokens[seq]) <= self.traits.n_ctx, "the scheduler must watch the context"
                if row < len(batch.rows) and batch.rows[row] == batch.starts[i] + j:
                    out[row] = self._logits(self._tokens[seq])
                    row += 1
        assert row == len(batch.rows), "rows must be ascending indices into tokens"

    def cancel(self) -> None:
        self._cancel.set()

    def shutdown(self) -> None:
        self.closed = True

    def _blocks(self, n: int) -> int:
        return -(-n // self._block_size)

    def _release(self, blocks: list[int]) -> None:
        self._holders.subtract(blocks)

    def _reserve(self, sequences: tuple[SeqId, ...], slices: list[list[int]]) -> None:
        """Blocks for all slices, or NoRoom and nothing changed."""
        needed = 0
        tails: list[bool] = []
        for seq, new in zip(sequences, slices, strict=True):
            assert new, "a slice has at least one token"
            have = len(self._tokens[seq])
            shared_tail = bool(have % self._block_size) and self._holders[self._tables[seq][-1]] > 1
            tails.append(shared_tail)
            needed += self._blocks(have + len(new)) - self._blocks(have) + shared_tail
        if needed > self._n_blocks - self.n_blocks_used:
            raise NoRoom(f"needs {needed} blocks, {self._n_blocks - self.n_blocks_used} are free")
        free = (b for b in range(self._n_blocks) if self._holders[b] <= 0)
        for seq, new, copy_tail in zip(sequences, slices, tails, strict=True):
            table = self._tables[seq]
            if copy_tail:
                self._release([table.pop()])
            while len(table) < self._blocks(len(self._tokens[seq]) + len(new)):
                block = next(free)
                self._holders[block] += 1
                table.append(block)

    def _logits(self, tokens: list[int]) -> NDArray[np.float32]:
        """(n_vocab) standard normal, a function of the whole sequence."""
        if tokens[-1] == self._nan_after:
            return np.full(self.traits.n_vocab, np.nan, dtype=np.float32)
        rng = np.random.default_rng(zlib.crc32(np.array(tokens, dtype=np.int32).tobytes()))
        return rng.standard_normal(self.traits.n_vocab, dtype=np.float32)
