"""BlockTables: the blocks of every sequence, with fork, truncate and copy on write.

A fork shares blocks; nothing is copied until one of the holders writes into a shared block, so fork and
truncate never need room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgeinfer.errors import NoRoom
from edgeinfer.kv.blocks import BlockPool


@dataclass
class _Table:
    blocks: list[int] = field(default_factory=list)
    length: int = 0  # tokens


class BlockTables:
    """Block tables of all open sequences over one pool.

    Args:
        pool: where blocks come from.
        block_tokens: tokens a block holds.
        copy_block: called as copy_block(source, target) when a shared block is about to be written.
    """

    def __init__(self, pool: BlockPool, block_tokens: int, copy_block: Callable[[int, int], None]) -> None:
        self._pool = pool
        self._block_tokens = block_tokens
        self._copy_block = copy_block
        self._tables: dict[int, _Table] = {}
        self._next = 0

    def open(self) -> int:
        """A new empty sequence."""
        sequence = self._next
        self._next += 1
        self._tables[sequence] = _Table()
        return sequence

    def length(self, sequence: int) -> int:
        """Tokens of a sequence."""
        return self._tables[sequence].length

    def blocks(self, sequence: int) -> list[int]:
        """Block ids of a sequence, borrowed until its next change."""
        return self._tables[sequence].blocks

    def fork(self, source: int, target: int, n: int) -> int:
        """Share the first n tokens of source with the empty target; returns how many it has."""
        table = self._tables[target]
        assert table.length == 0, f"sequence {target} is not empty"
        n = min(n, self._tables[source].length)
        table.blocks = self._tables[source].blocks[: self._blocks_for(n)]
        for block in table.blocks:
            self._pool.share(block)
        table.length = n
        return n

    def truncate(self, sequence: int, n: int) -> int:
        """Keep the first n tokens; returns how many are kept."""
        table = self._tables[sequence]
        table.length = min(n, table.length)
        keep = self._blocks_for(table.length)
        for block in table.blocks[keep:]:
            self._pool.drop(block)
        del table.blocks[keep:]
        return table.length

    def close(self, sequence: int) -> None:
        """Forget a sequence."""
        for block in self._tables.pop(sequence).blocks:
            self._pool.drop(block)

    def extend(self, sequences: Sequence[int], counts: Sequence[int]) -> None:
        """Make sequence i ready for counts[i] more tokens: copy its shared tail, take new blocks.

        Lengths change too. All or nothing: on NoRoom no sequence has changed.
        """
        if sum(map(self._needed, sequences, counts)) > self._pool.n_free:
            raise NoRoom(
                f"the KV cache of {self._pool.n_blocks * self._block_tokens} tokens is full",
                hint="use a larger --context, or run fewer requests at once",
            )
        for sequence, count in zip(sequences, counts, strict=True):
            self._extend_one(sequence, count)

    def _extend_one(self, sequence: int, count: int) -> None:
        table = self._tables[sequence]
        if self._tail_is_shared(table):
            own = self._pool.take()
            self._copy_block(table.blocks[-1], own)
            self._pool.drop(table.blocks[-1])
            table.blocks[-1] = own
        table.length += count
        while len(table.blocks) < self._blocks_for(table.length):
            table.blocks.append(self._pool.take())

    def _needed(self, sequence: int, count: int) -> int:
        table = self._tables[sequence]
        new = self._blocks_for(table.length + count) - len(table.blocks)
        return new + int(self._tail_is_shared(table))

    def _tail_is_shared(self, table: _Table) -> bool:
        partial = table.length % self._block_tokens != 0
        return partial and self._pool.is_shared(table.blocks[-1])

    def _blocks_for(self, n_tokens: int) -> int:
        return -(-n_tokens // self._block_tokens)
