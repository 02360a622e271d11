"""NativeBackend: the paged, exact C++ engine behind the backend seam."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edgeinfer import _native
from edgeinfer.backends.base import STEP_TOKENS, Batch, KvBlock, KvUse, SeqId, Traits
from edgeinfer.config.table import KvType
from edgeinfer.errors import NoRoom
from edgeinfer.kv.blocks import BlockPool
from edgeinfer.kv.rows import GONE, BlockRows
from edgeinfer.kv.tables import BlockTables
from edgeinfer.models.spec import DecoderSpec


class NativeBackend:
    """One model on the native engine.

    Args:
        file: the checked model file.
        spec: its decoder, from `edgeinfer.models.load_spec`.
        n_threads: threads that compute; the calling thread is one of them.
        n_ctx: most tokens of one sequence.
        kv_type: how K and V are stored.
        n_blocks: blocks of KV memory in each pool, one figure for all or one for each of `spec.spans`; by
            default room for one full context and a half.
        max_sequences: most sequences open at once.

    Raises:
        BadModelFile: a tensor is missing or has a wrong shape.
        UnsupportedModel: a tensor type has no kernels.
        NotEnoughMemory: the address space for the KV cache cannot be had.
    """

    def __init__(
        self,
        file: _native.GgufFile,
        spec: DecoderSpec,
        *,
        n_threads: int,
        n_ctx: int,
        kv_type: KvType = "f16",
        n_blocks: int | Sequence[int] | None = None,
        max_sequences: int = 256,
    ) -> None:
        block_tokens: int = _native.KV_BLOCK_TOKENS
        if n_blocks is None:
            kept = [span.kept(n_ctx, STEP_TOKENS) for span in spec.spans]
            n_blocks = [-(-n * 3 // (2 * block_tokens)) + 1 for n in kept]
        elif isinstance(n_blocks, int):
            n_blocks = [n_blocks] * len(spec.spans)
        self._engine = _native.Engine(file, spec, n_threads, list(n_blocks), kv_type)
        self._block_bytes = self._engine.block_bytes  # of each pool
        self._tables = BlockTables(
            [
                BlockRows(BlockPool(n), span, block_tokens, partial(self._engine.copy_block, i))
                for i, (span, n) in enumerate(zip(spec.spans, n_blocks, strict=True))
            ]
        )
        self._open: set[SeqId] = set()
        self._table_ids = np.empty(0, np.int32)
        self._traits = Traits(
            n_vocab=spec.n_vocab,
            n_embd=spec.n_embd,
            pooling=spec.pooling,
            n_ctx=n_ctx,
            max_sequences=max_sequences,
            kv_block_tokens=block_tokens,
            kv_format=_kv_format(spec, kv_type),
            row_invariant=True,
            description=f"native {_native.target()}, {n_threads} threads, {kv_type} KV"
            + (f", window {spec.kv_window}" if spec.kv_window else ""),
        )

    @property
    def traits(self) -> Traits:
        """What this backend is."""
        return self._traits

    def open(self) -> SeqId:
        """A new empty sequence. Raises NoRoom when `max_sequences` are open."""
        if len(self._open) >= self._traits.max_sequences:
            raise NoRoom(f"{self._traits.max_sequences} sequences are open already")
        sequence = SeqId(self._tables.open())
        self._open.add(sequence)
        return sequence

    def fork(self, src: SeqId, dst: SeqId, n: int) -> int:
        """Give dst (empty) the first n tokens of src; blocks are shared until one of them writes.

        None, if what a window at that point sees was given back.
        """
        return self._tables.fork(src, dst, n)

    def truncate(self, seq: SeqId, n: int) -> int:
        """Keep the first n tokens; none, if what a window at that point sees was given back."""
        return self._tables.truncate(seq, n)

    def close(self, seq: SeqId) -> None:
        """Forget a sequence and free the blocks that nobody else holds."""
        self._open.remove(seq)
        self._tables.close(seq)

    def snapshot(self, seq: SeqId) -> list[KvBlock]:
        """Views of the blocks of a sequence, a part of each pool."""
        nothing = np.empty(0, np.uint8)
        return [
            tuple(nothing if i == GONE else self._engine.block(pool, i) for pool, i in enumerate(ids))
            for ids in self._tables.blocks(seq)
        ]

    def restore(self, seq: SeqId, n: int, blocks: Iterable[KvBlock]) -> int:
        """Copy what a next token would see into new blocks of an empty sequence, as far as it is there."""
        self._tables.fill(seq, n)
        n_there = 0
        for ids, parts in zip(self._tables.blocks(seq), blocks, strict=False):
            if not self._copy(parts, ids):
                break
            n_there += self._traits.kv_block_tokens
        return self._tables.truncate(seq, n_there)

    def _copy(self, parts: KvBlock, ids: tuple[int, ...]) -> bool:
        """Copy a block of a snapshot; False if a part is absent or of a foreign size."""
        wanted = [pool for pool, i in enumerate(ids) if i != GONE]
        if len(parts) != len(ids) or any(parts[pool].size != self._block_bytes[pool] for pool in wanted):
            return False
        for pool in wanted:
            np.copyto(self._engine.block(pool, ids[pool]), parts[pool])
        return True

    def room(self, without: Collection[SeqId] = ()) -> int:
        """Tokens that fit into blocks which are free, or which no future token sees."""
        return self._tables.room(self._traits.n_ctx, STEP_TOKENS, without)

    def kv_use(self, running: Collection[SeqId]) -> KvUse:
        """What the blocks are used for, while these sequences are running."""
        return self._tables.use(running)

    def forward(self, batch: Batch, out: NDArray[np.float32]) -> None:
        """Append batch.tokens to their sequences and write a row for each of batch.rows.

        Raises:
            NoRoom: not enough free blocks; no sequence has changed.
            Cancelled: `cancel` was called; no sequence has changed.
            ModelFileChanged: the file shrank or was rewritten while it was mapped.
        """
        counts = np.diff(batch.starts)
        lengths = np.array([self._tables.length(s) for s in batch.sequences], np.int32)
        self._tables.extend(batch.sequences, [int(n) for n in counts])
        try:
            tables = self._fill_tables(batch.sequences, lengths)
            self._engine.step(batch.tokens, batch.starts, lengths, tables, batch.rows, out)
        except BaseException:
            for sequence, length in zip(batch.sequences, lengths, strict=True):
                self._tables.truncate(sequence, int(length))
            raise

    def _fill_tables(self, sequences: Sequence[SeqId], lengths: NDArray[np.int32]) -> NDArray[np.int32]:
        """(n_pools, n_sequences, n) block ids, borrowed until the next step."""
        shape = (len(self._block_bytes), len(sequences), self._tables.width(sequences))
        n = math.prod(shape)
        if len(self._table_ids) < n:
            self._table_ids = np.full(2 * n, GONE, np.int32)
        tables = self._table_ids[:n].reshape(shape)
        self._tables.write(sequences, lengths.tolist(), tables)
        return tables

    def cancel(self) -> None:
        """Make the running forward raise Cancelled between two layers. Safe from any thread."""
        self._engine.cancel()

    @contextmanager
    def profiled(self) -> Iterator[list[tuple[str, int, int, float]]]:
        """A list that, after the block, tells where its steps spent their time.

        Entries are (operation, layer or -1, calls, seconds as one thread saw them).
        """
        entries: list[tuple[str, int, int, float]] = []
        self._engine.start_profile()
        yield entries
        entries.extend(self._engine.take_profile())

    def shutdown(self) -> None:
        """Give back threads, KV memory and the mapped file."""
        del self._engine


def _kv_format(spec: DecoderSpec, kv_type: KvType) -> str:
    """What keys and values depend on beside the weights; some rope tables follow the context length."""
    decoder = hashlib.sha256(repr(spec).encode()).hexdigest()
    return f"native {_native.KV_BLOCK_TOKENS} {kv_type} {decoder}"
