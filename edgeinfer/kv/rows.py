"""BlockRows: the blocks of every sequence in one pool, for the layers that see the same tokens.

Where layers have a window, blocks that no future token sees are given back, but only when others are wanted:
until then a fork or a truncation to an earlier point still finds its window.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeinfer.kv.blocks import BlockPool
from edgeinfer.models.spec import Span

GONE = -1  # in a row: this block was given back


@dataclass
class _Row:
    blocks: list[int] = field(default_factory=list)
    begin: int = 0  # what lies between the sinks and this one is GONE
    whole: bool = False  # a fork that was not written to: nothing of it is given back


class BlockRows:
    """One row of block ids for every sequence. Lengths are its caller's to know.

    Args:
        pool: where blocks come from.
        span: what a token of these layers sees.
        block_tokens: tokens a block holds.
        copy_block: called as copy_block(source, target) when a shared block is about to be written.
    """

    def __init__(
        self, pool: BlockPool, span: Span, block_tokens: int, copy_block: Callable[[int, int], None]
    ) -> None:
        self.pool = pool
        self.span = span
        self._block_tokens = block_tokens
        self._n_sinks = span.n_sinks // block_tokens
        self._copy_block = copy_block
        self._rows: dict[int, _Row] = {}

    def open(self, sequence: int) -> None:
        """An empty row."""
        self._rows[sequence] = _Row()

    def close(self, sequence: int) -> None:
        """Forget a row."""
        self.cut(sequence, 0)
        del self._rows[sequence]

    def blocks(self, sequence: int) -> list[int]:
        """Block ids of a sequence, GONE where there is none; borrowed until its next change."""
        return self._rows[sequence].blocks

    def seen(self, n: int) -> Iterator[int]:
        """Which blocks of n tokens the next token sees."""
        first = self._first(n)
        yield from range(min(self._n_sinks, first))
        yield from range(first, self._blocks_for(n))

    def holds(self, sequence: int, n: int) -> bool:
        """Whether everything is there that a token behind the first n sees."""
        begin = self._rows[sequence].begin
        return begin <= max(self._first(n), self._n_sinks) or n == 0

    def share(self, source: int, target: int, n: int) -> None:
        """Give the empty target the blocks of the first n tokens of source, which it holds.

        They stay as long as nothing is written behind them: somebody may be reading them.
        """
        keep = self._blocks_for(n)
        row = _Row(self._rows[source].blocks[:keep], min(self._rows[source].begin, keep), whole=True)
        for block in row.blocks:
            if block != GONE:
                self.pool.share(block)
        self._rows[target] = row

    def cut(self, sequence: int, n: int) -> None:
        """Keep the blocks of the first n tokens, which it holds."""
        row = self._rows[sequence]
        keep = self._blocks_for(n)
        for block in row.blocks[keep:]:
            if block != GONE:
                self.pool.drop(block)
        del row.blocks[keep:]
        row.begin = min(row.begin, keep)
        row.whole = False

    def write(self, sequence: int, n: int, ids: NDArray[np.int32]) -> None:
        """Write the ids of what new tokens behind the first n see into a row of them, others stay."""
        blocks, first = self._rows[sequence].blocks, self._first(n)
        n_sinks = min(self._n_sinks, first)
        ids[:n_sinks] = blocks[:n_sinks]
        ids[first : len(blocks)] = blocks[first:]

    def will_grow(self, sequence: int) -> None:
        """It is about to be written to: what it does not see any more may be given back."""
        self._rows[sequence].whole = False

    def needed(self, sequence: int, length: int, count: int) -> int:
        """Blocks to take before `count` tokens can be written behind the first `length`."""
        row = self._rows[sequence]
        new = self._blocks_for(length + count) - len(row.blocks)
        return new + int(self._tail_is_shared(row, length))

    def extend(self, sequence: int, length: int, count: int) -> None:
        """Make ready for `count` tokens behind the first `length`: own the tail, take new blocks."""
        row = self._rows[sequence]
        if self._tail_is_shared(row, length):
            own = self.pool.take()
            self._copy_block(row.blocks[-1], own)
            self.pool.drop(row.blocks[-1])
            row.blocks[-1] = own
        while len(row.blocks) < self._blocks_for(length + count):
            row.blocks.append(self.pool.take())

    def fill(self, sequence: int, n: int) -> None:
        """Give an empty row those blocks of n tokens that the next token sees."""
        row = self._rows[sequence]
        row.blocks = [GONE] * self._blocks_for(n)
        for i in self.seen(n):
            row.blocks[i] = self.pool.take()
        row.begin = self._first(n)

    def make_room(self, n: int, lengths: Mapping[int, int]) -> bool:
        """Whether n blocks are free, after giving back as many as it takes that no future token sees.

        `lengths` are those of all sequences; the first ones go first.
        """
        if self.span.window:
            for sequence, length in lengths.items():
                row = self._rows[sequence]
                self._give_back(row, 0 if row.whole else self._first(length), n)
        return self.pool.n_free >= n

    def room(self, lengths: Mapping[int, int], n_ctx: int, step_tokens: int) -> int:
        """Tokens that one sequence can be given, up to n_ctx for each that could be run to its end.

        As long as no step is longer than `step_tokens`, and there are no sequences but these.
        """
        n_free = self._n_available(lengths)
        whole = self.blocks_of(n_ctx, step_tokens)
        endless = n_free // whole * n_ctx if self.span.window else 0
        return max(n_free * self._block_tokens, endless)

    def blocks_of(self, n: int, step_tokens: int) -> int:
        """Most blocks that a sequence of up to n tokens needs at once."""
        return min(self._blocks_for(n), self._blocks_for(self.span.kept(n, step_tokens)) + 1)

    def n_own(self, sequences: Collection[int]) -> int:
        """Blocks that one of these sequences holds and no other one."""
        blocks = (block for sequence in sequences for block in self._rows[sequence].blocks)
        return sum(1 for block in blocks if block != GONE and not self.pool.is_shared(block))

    def _n_available(self, lengths: Mapping[int, int]) -> int:
        """Blocks that these sequences do not hold, or would not if all were given back that none will see."""
        if self.span.window == 0 and len(lengths) == len(self._rows):
            return self.pool.n_free
        held: set[int] = set()
        for sequence, length in lengths.items():
            row = self._rows[sequence]
            held.update(row.blocks if row.whole else (row.blocks[i] for i in self.seen(length)))
        return self.pool.n_blocks - len(held - {GONE})

    def _give_back(self, row: _Row, end: int, n: int) -> None:
        """Give back blocks before `end` until n are free."""
        row.begin = max(row.begin, min(self._n_sinks, end))
        while row.begin < end and self.pool.n_free < n:
            self.pool.drop(row.blocks[row.begin])
            row.blocks[row.begin] = GONE
            row.begin += 1

    def _tail_is_shared(self, row: _Row, length: int) -> bool:
        partial = length % self._block_tokens != 0
        return partial and self.pool.is_shared(row.blocks[-1])

    def _first(self, n: int) -> int:
        """The block where the window of the token behind the first n begins."""
        return self.span.first(n) // self._block_tokens

    def _blocks_for(self, n_tokens: int) -> int:
        return -(-n_tokens // self._block_tokens)
