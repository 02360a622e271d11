"""The seam below the engine: what every backend offers, on one page.

Answers instead of promises: `fork` and `truncate` say how many tokens are really there, and the
scheduler computes the rest again. So no code above this seam asks what a backend can do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NewType, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeinfer.models.spec import Pooling

SeqId = NewType("SeqId", int)
KvBlock = tuple[NDArray[np.uint8], ...]  # the memory of a block, in parts; one that was given back is empty

# Most tokens of one step but those of running answers: enough for full speed, few enough to stay responsive.
# `room` reckons with no longer ones.
STEP_TOKENS = 512
ENDLESS = 1 << 30  # n_ctx where keys and values beyond a window are given up


@dataclass(frozen=True)
class Traits:
    """What a backend is, fixed for its life."""

    n_vocab: int
    n_embd: int  # numbers in the final state of a token
    pooling: Pooling  # "none": rows are logits; else an embedding model, and rows are final states
    n_ctx: int  # most tokens that one sequence can hold
    max_sequences: int  # most sequences that can be open at once
    kv_block_tokens: int  # tokens of a block of a snapshot
    kv_format: str  # what `snapshot` gives is of use where this and the model are the same
    row_invariant: bool  # the row of a token depends only on its own sequence, bit for bit
    description: str  # for people: "native avx2, 4 threads, f16 KV"

    @property
    def row_width(self) -> int:
        """Numbers in a row that `forward` writes."""
        return self.n_vocab if self.pooling == "none" else self.n_embd


@dataclass(frozen=True)
class KvUse:
    """What the blocks of keys and values are used for; where there are several pools, those of the first."""

    n_running: int  # held by one sequence, which is running
    n_shared: int  # by several sequences
    n_kept: int  # by one that is not running
    n_free: int


@dataclass(frozen=True)
class Batch:
    """New tokens for some sequences, one after another; each sequence at most once.

    Sequence i gets `tokens[starts[i]:starts[i + 1]]` appended (at least one token).
    """

    sequences: tuple[SeqId, ...]
    tokens: NDArray[np.int32]  # (n)
    starts: NDArray[np.int32]  # (s + 1), starts[0] == 0, starts[-1] == n
    rows: NDArray[np.int32]  # (r) indices into tokens that want a row, ascending


class Backend(Protocol):
    """Runs one model. All calls come from one thread, except `cancel`."""

    @property
    def traits(self) -> Traits:
        """What this backend is."""

    def open(self) -> SeqId:
        """A new empty sequence. Raises NoRoom when `max_sequences` are open."""

    def fork(self, src: SeqId, dst: SeqId, n: int) -> int:
        """Give dst (empty) the first n tokens of src. Returns how many it really has, 0..n."""

    def truncate(self, seq: SeqId, n: int) -> int:
        """Keep the first n tokens. Returns how many are kept, 0..n. Never raises NoRoom."""

    def close(self, seq: SeqId) -> None:
        """Forget a sequence and free what nobody else holds."""

    def snapshot(self, seq: SeqId) -> list[KvBlock]:
        """The memory of its tokens, block after block; borrowed until the next forward.

        That of a fork is borrowed until something is appended to it or it is closed, and may be read from
        other threads meanwhile. Empty where a backend cannot tell.
        """

    def restore(self, seq: SeqId, n: int, blocks: Iterable[KvBlock]) -> int:
        """Give seq (empty) the first n tokens of a snapshot. A block is borrowed until the next is taken.

        Returns how many it has, 0..n: fewer if the blocks end early, 0 if they are not of this backend or
        lack what it needs. Raises NoRoom, and nothing has changed.
        """

    def room(self, without: Collection[SeqId] = ()) -> int:
        """Tokens that can still be appended to one sequence before NoRoom, in steps of up to STEP_TOKENS.

        With `without`: if those sequences were closed.
        """

    def kv_use(self, running: Collection[SeqId]) -> KvUse:
        """What the blocks are used for, while these sequences are running."""

    def forward(self, batch: Batch, out: NDArray[np.float32]) -> None:
        """Append batch.tokens to their sequences and write a row for each of batch.rows.

        `out` is C-contiguous float32 (n_rows, row_width), borrowed for the call. All or nothing: on
        NoRoom, or on Cancelled, no sequence has changed.
        """

    def cancel(self) -> None:
        """Make the running forward raise Cancelled between two layers. Safe from any thread.

        Without a running forward it does nothing.
        """

    def shutdown(self) -> None:
        """Give everything back: threads, memory, the mapped file. Calls after it are errors."""
