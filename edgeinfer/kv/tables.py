"""BlockTables: the blocks of every sequence, with fork, truncate and copy on write.

A fork shares blocks; nothing is copied until one of the holders writes into a shared block, so fork and
truncate never need room. There is a pool, and a row of blocks for each sequence, for every kind of layers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeinfer.backends.base import KvUse
from edgeinfer.errors import NoRoom
from edgeinfer.kv.rows import BlockRows


class BlockTables:
    """Block tables of all open sequences over some pools.

    Args:
        rows: of each kind of layers.
    """

    def __init__(self, rows: Sequence[BlockRows]) -> None:
        self._rows = tuple(rows)
        self._lengths: dict[int, int] = {}  # tokens; what was extended last comes last
        self._next = 0

    def open(self) -> int:
        """A new empty sequence."""
        sequence = self._next
        self._next += 1
        self._lengths[sequence] = 0
        for rows in self._rows:
            rows.open(sequence)
        return sequence

    def length(self, sequence: int) -> int:
        """Tokens of a sequence."""
        return self._lengths[sequence]

    def blocks(self, sequence: int) -> list[tuple[int, ...]]:
        """The blocks of a sequence: one of each pool, GONE where there is none."""
        return list(zip(*(rows.blocks(sequence) for rows in self._rows), strict=True))

    def write(self, sequences: Sequence[int], lengths: Sequence[int], ids: NDArray[np.int32]) -> None:
        """Write the block ids that new tokens behind the first lengths[i] of sequence i see, others stay.

        `ids` is (n_pools, n_sequences, n): at least `width` of the sequences.
        """
        for rows, table in zip(self._rows, ids, strict=True):
            for sequence, length, row in zip(sequences, lengths, table, strict=True):
                rows.write(sequence, length, row)

    def width(self, sequences: Sequence[int]) -> int:
        """Blocks of the longest of these sequences."""
        return max(len(self._rows[0].blocks(sequence)) for sequence in sequences)

    def fork(self, source: int, target: int, n: int) -> int:
        """Share the first n tokens of source with the empty target; returns how many it has.

        None if what a window at that point sees is no longer there. A fork gives nothing back until it grows.
        """
        assert self._lengths[target] == 0, f"sequence {target} is not empty"
        n = self._there(source, n)
        for rows in self._rows:
            rows.share(source, target, n)
        self._lengths[target] = n
        return n

    def truncate(self, sequence: int, n: int) -> int:
        """Keep the first n tokens; returns how many are kept: none if what a window sees there has gone."""
        n = self._there(sequence, n)
        for rows in self._rows:
            rows.cut(sequence, n)
        self._lengths[sequence] = n
        return n

    def close(self, sequence: int) -> None:
        """Forget a sequence."""
        for rows in self._rows:
            rows.close(sequence)
        del self._lengths[sequence]

    def extend(self, sequences: Sequence[int], counts: Sequence[int]) -> None:
        """Make sequence i ready for counts[i] more tokens: copy its shared tail, take new blocks.

        Lengths change too. All or nothing: on NoRoom no sequence has changed.
        """
        for sequence in sequences:
            self._lengths[sequence] = self._lengths.pop(sequence)
            for rows in self._rows:
                rows.will_grow(sequence)
        pairs = [(s, self._lengths[s], count) for s, count in zip(sequences, counts, strict=True)]
        self._make_room([sum(rows.needed(*pair) for pair in pairs) for rows in self._rows])
        for sequence, length, count in pairs:
            for rows in self._rows:
                rows.extend(sequence, length, count)
            self._lengths[sequence] = length + count

    def fill(self, sequence: int, n: int) -> None:
        """Give an empty sequence n tokens, with those blocks that the next one sees.

        Raises NoRoom, and nothing has changed.
        """
        assert self._lengths[sequence] == 0, f"sequence {sequence} is not empty"
        self._make_room([sum(1 for _ in rows.seen(n)) for rows in self._rows])
        for rows in self._rows:
            rows.fill(sequence, n)
        self._lengths[sequence] = n

    def room(self, n_ctx: int, step_tokens: int, without: Collection[int] = ()) -> int:
        """Tokens that one sequence can be given if others were closed, see `BlockRows.room`."""
        lengths = {s: n for s, n in self._lengths.items() if s not in without} if without else self._lengths
        return min(rows.room(lengths, n_ctx, step_tokens) for rows in self._rows)

    def use(self, running: Collection[int]) -> KvUse:
        """What the blocks of the first pool are used for."""
        rows = self._rows[0]
        pool, n_running = rows.pool, rows.n_own(running)
        return KvUse(n_running, pool.n_shared, pool.n_used - pool.n_shared - n_running, pool.n_free)

    def _there(self, sequence: int, n: int) -> int:
        n = min(n, self._lengths[sequence])
        return n if all(rows.holds(sequence, n) for rows in self._rows) else 0

    def _make_room(self, needed: Sequence[int]) -> None:
        """Free so many blocks of each pool. Raises NoRoom."""
        for rows, n in zip(self._rows, needed, strict=True):
            if not rows.make_room(n, self._lengths):
                raise NoRoom(
                    f"all {rows.pool.n_blocks} KV blocks are in use",
                    hint="use a larger --context-length, or run fewer requests at once",
                )
