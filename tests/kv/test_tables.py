"""Block tables against a plain model of what sequences hold: all that can still be seen is there."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from edgeinfer.models.spec import Span
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edgeinfer.errors import NoRoom
from edgeinfer.kv.blocks import BlockPool
from edgeinfer.kv.rows import GONE, BlockRows
from edgeinfer.kv.tables import BlockTables

BLOCK = 4
N_CTX = 1000
KINDS = {
    "all": [Span(0)],
    "window": [Span(10)],
    "all and a window": [Span(0), Span(6)],
    "windows": [Span(3), Span(9)],
    "sinks": [Span(8, n_sinks=4)],
    "sinks and a window": [Span(5), Span(12, n_sinks=4)],
}


class Store:
    """Tables with memory: a block is the tokens that were written into it."""

    def __init__(self, spans: list[Span], n_blocks: int) -> None:
        self.spans = spans
        self.pools = [BlockPool(n_blocks) for _ in spans]
        self.memory: list[dict[int, list[int]]] = [{} for _ in spans]
        rows = [
            BlockRows(pool, span, BLOCK, lambda a, b, m=memory: m.update({b: list(m[a])}))
            for pool, span, memory in zip(self.pools, spans, self.memory, strict=True)
        ]
        self.tables = BlockTables(rows)

    def append(self, sequence: int, tokens: list[int]) -> None:
        length = self.tables.length(sequence)
        self.tables.extend([sequence], [len(tokens)])
        ids = self.ids_of_step(sequence, length)
        for memory, row in zip(self.memory, ids, strict=True):
            for position, token in enumerate(tokens, start=length):
                block = memory.setdefault(int(row[position // BLOCK]), [])
                del block[position % BLOCK :]
                block.append(token)

    def ids_of_step(self, sequence: int, length: int) -> np.ndarray:
        """(n_pools, n) as the engine would get them; what it may not read is -2."""
        ids = np.full((len(self.spans), 1, self.tables.width([sequence])), -2, np.int32)
        self.tables.write([sequence], [length], ids)
        return ids[:, 0]

    def visible(self, sequence: int) -> list[dict[int, int]]:
        """Per kind of layers: position -> token of everything that the next token sees."""
        length = self.tables.length(sequence)
        seen = []
        for span, memory, row in zip(
            self.spans, self.memory, self.ids_of_step(sequence, length), strict=True
        ):
            first = span.first(length)
            positions = [*range(min(span.n_sinks, first)), *range(first, length)]
            seen.append({p: memory[int(row[p // BLOCK])][p % BLOCK] for p in positions})
        return seen


class Tables(RuleBasedStateMachine):
    @initialize(kind=st.sampled_from(sorted(KINDS)), n_blocks=st.integers(8, 40))
    def start(self, kind: str, n_blocks: int) -> None:
        self.store = Store(KINDS[kind], n_blocks)
        self.tables = self.store.tables
        self.tokens: dict[int, list[int]] = {}
        self.forked: dict[int, list[tuple[int, ...]]] = {}  # nothing was appended to these
        self.next = 0

    def some(self, choice: int) -> int | None:
        return sorted(self.tokens)[choice % len(self.tokens)] if self.tokens else None

    @rule()
    def open(self) -> None:
        if len(self.tokens) < 6:
            self.tokens[self.tables.open()] = []

    @rule(choice=st.integers(0, 5), count=st.integers(1, 30))
    def append(self, choice: int, count: int) -> None:
        sequence = self.some(choice)
        if sequence is None:
            return
        new = list(range(self.next, self.next + count))
        self.next += count
        self.forked.pop(sequence, None)
        try:
            self.store.append(sequence, new)
        except NoRoom:
            return
        self.tokens[sequence] += new

    @rule(a=st.integers(0, 5), b=st.integers(0, 5), count=st.integers(1, 9))
    def append_to_two_and_fail(self, a: int, b: int, count: int) -> None:
        """A step that was cancelled: blocks were taken, then the lengths go back."""
        pair = sorted({self.some(a), self.some(b)} - {None})
        if not pair:
            return
        for sequence in pair:
            self.forked.pop(sequence, None)
        try:
            self.tables.extend(pair, [count] * len(pair))
        except NoRoom:
            return
        for sequence in pair:
            assert self.tables.truncate(sequence, len(self.tokens[sequence])) == len(self.tokens[sequence])

    @rule(choice=st.integers(0, 5), n=st.integers(0, 120))
    def fork(self, choice: int, n: int) -> None:
        source = self.some(choice)
        if source is None or len(self.tokens) > 5:
            return
        target = self.tables.open()
        kept = self.tables.fork(source, target, n)
        assert kept in (0, min(n, len(self.tokens[source])))
        if n >= len(self.tokens[source]):
            assert kept == len(self.tokens[source]), "the end of a sequence is always there"
        self.tokens[target] = self.tokens[source][:kept]
        self.forked[target] = self.tables.blocks(target)

    @rule(choice=st.integers(0, 5), n=st.integers(0, 120))
    def truncate(self, choice: int, n: int) -> None:
        sequence = self.some(choice)
        if sequence is None:
            return
        kept = self.tables.truncate(sequence, n)
        assert kept in (0, min(n, len(self.tokens[sequence])))
        self.forked.pop(sequence, None)
        self.tokens[sequence] = self.tokens[sequence][:kept]

    @rule(choice=st.integers(0, 5))
    def close(self, choice: int) -> None:
        sequence = self.some(choice)
        if sequence is not None:
            self.tables.close(sequence)
            del self.tokens[sequence]
            self.forked.pop(sequence, None)

    @rule(choice=st.integers(0, 5))
    def fill_a_copy(self, choice: int) -> None:
        """What a restored snapshot does: only the blocks that the next token sees."""
        source = self.some(choice)
        if source is None or len(self.tokens) > 5:
            return
        target = self.tables.open()
        self.tokens[target] = []
        try:
            self.tables.fill(target, len(self.tokens[source]))
        except NoRoom:
            return
        self.tokens[target] = list(self.tokens[source])
        for pool, memory in enumerate(self.store.memory):
            for i, ids in enumerate(self.tables.blocks(target)):
                if ids[pool] != GONE:
                    memory[ids[pool]] = self.tokens[source][i * BLOCK : (i + 1) * BLOCK]

    @rule(step=st.integers(1, 12))
    def room_is_what_a_new_sequence_can_have(self, step: int) -> None:
        room = min(self.tables.room(N_CTX, step), N_CTX, 200)
        if len(self.tokens) > 5:
            return
        sequence = self.tables.open()
        for first in range(0, room, step):
            self.store.append(sequence, list(range(first, min(first + step, room))))
        self.tables.close(sequence)

    @invariant()
    def every_sequence_sees_its_own_tokens(self) -> None:
        for sequence, tokens in getattr(self, "tokens", {}).items():
            assert self.tables.length(sequence) == len(tokens)
            for seen in self.store.visible(sequence):
                assert all(tokens[position] == token for position, token in seen.items())

    @invariant()
    def every_block_has_as_many_holders_as_rows_name_it(self) -> None:
        for i, pool in enumerate(self.store.pools if hasattr(self, "store") else []):
            rows = [[ids[i] for ids in self.tables.blocks(s)] for s in self.tokens]
            holders = Counter(block for row in rows for block in row if block != GONE)
            assert pool.n_used == len(holders)
            assert all(pool.is_shared(block) == (n > 1) for block, n in holders.items())

    @invariant()
    def a_fork_keeps_its_blocks_until_it_grows(self) -> None:
        for sequence, blocks in getattr(self, "forked", {}).items():
            assert self.tables.blocks(sequence) == blocks


TestTables = Tables.TestCase
TestTables.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("kind", ["window", "sinks"])
def test_a_sequence_with_windows_needs_no_more_blocks_however_long_it_is(kind: str) -> None:
    store = Store(KINDS[kind], n_blocks=8)
    sequence = store.tables.open()
    for first in range(0, 4000, 5):
        store.append(sequence, list(range(first, first + 5)))
    assert store.tables.length(sequence) == 4000
    assert store.pools[0].n_used <= 8


def test_what_lies_before_a_window_is_given_back_only_when_others_need_it() -> None:
    store = Store([Span(8)], n_blocks=20)
    a, b, c = (store.tables.open() for _ in range(3))
    store.append(a, list(range(40)))
    assert store.tables.fork(a, b, 13) == 13
    store.tables.close(b)
    store.append(c, list(range(60)))
    d = store.tables.open()
    assert store.tables.fork(a, d, 13) == 0
    assert store.tables.fork(a, d, 40) == 40


def test_a_sequence_that_begins_again_has_its_windows_back() -> None:
    store = Store([Span(8)], n_blocks=10)
    a, b = store.tables.open(), store.tables.open()
    store.append(a, list(range(40)))
    store.append(b, list(range(20)))
    assert store.tables.truncate(a, 10) == 0
    store.append(a, list(range(12)))
    assert store.tables.truncate(a, 2) == 2


def test_room_counts_what_a_fork_holds() -> None:
    store = Store([Span(8)], n_blocks=12)
    a, b = store.tables.open(), store.tables.open()
    store.append(a, list(range(40)))
    assert store.tables.room(N_CTX, 4) > 40
    assert store.tables.fork(a, b, 40) == 40
    assert store.tables.room(N_CTX, 4) == 2 * BLOCK
    store.append(b, [40])
    assert store.tables.room(N_CTX, 4) > 2 * BLOCK
