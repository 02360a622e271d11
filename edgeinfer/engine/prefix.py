"""PrefixCache: sequences kept after their requests have ended, found again by their tokens.

Only within a namespace: how fast an answer begins would tell others what was said (CVE-2025-46570).

What is kept costs no copy: a request that goes on from a kept sequence shares its blocks. Room is made from
the least recently used sequence, from its end, since beginnings (system prompts) are what others share.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgeinfer.backends.base import Backend, SeqId
from edgeinfer.kv.tokens import Tokens, common_prefix

_LEAST = 32  # tokens given up at once; fewer would only be asked for again


@dataclass(eq=False)
class Kept:
    """A sequence that no request computes on."""

    seq: SeqId
    tokens: Tokens  # exactly what the sequence holds
    namespace: str = ""
    passing: bool = False  # of no use after this run


class PrefixCache:
    """Kept sequences, the least recently used first."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._kept: list[Kept] = []
        self.n_evicted = 0  # tokens given up for others so far

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def n_tokens(self) -> int:
        """Tokens of all kept sequences, shared ones counted for each."""
        return sum(len(kept.tokens) for kept in self._kept)

    def sequences(self, *, spare: Kept | None = None) -> set[SeqId]:
        """Of all that is kept but `spare`."""
        return {kept.seq for kept in self._kept if kept is not spare}

    def latest_first(self) -> Iterator[Kept]:
        """What is kept, the most recently used first."""
        return reversed(self._kept)

    def keep(
        self, seq: SeqId, tokens: Sequence[int] | Tokens, namespace: str, *, passing: bool = False
    ) -> None:
        """Take over a sequence that holds these tokens, unless one that begins with them is kept already."""
        new = Kept(seq, np.array(tokens, np.int32), namespace, passing)
        for kept in [kept for kept in self._kept if kept.namespace == namespace]:
            n = common_prefix(kept.tokens, new.tokens)
            if n == len(kept.tokens):  # the new one says it all
                self._close(kept)
            elif n == len(new.tokens):
                self.touch(kept)
                self._backend.close(seq)
                return
        self._kept.append(new)

    def find(self, tokens: Tokens, namespace: str) -> tuple[Kept | None, int]:
        """The kept sequence with the most first tokens in common, and how many those are."""
        best, most = None, 0
        for kept in self._kept:
            n = common_prefix(kept.tokens, tokens) if kept.namespace == namespace else 0
            if n > 0 and n >= most:
                best, most = kept, n
        return best, most

    def take(self, kept: Kept) -> SeqId:
        """Give a kept sequence to a request that goes on with all of it."""
        self._kept.remove(kept)
        return kept.seq

    def clear(self) -> None:
        """Close everything."""
        while self._kept:
            self._close(self._kept[-1])

    def touch(self, kept: Kept) -> None:
        """It was of use just now."""
        self._kept.remove(kept)
        self._kept.append(kept)

    def give_way(self, n_tokens: int, *, spare: Kept | None = None) -> bool:
        """Give up so many tokens, or some more, at the end of the least recently used sequence.

        False when there is none but `spare`.
        """
        kept = next((k for k in self._kept if k is not spare), None)
        if kept is None:
            return False
        before = len(kept.tokens)
        left = self._backend.truncate(kept.seq, max(0, before - max(n_tokens, _LEAST)))
        kept.tokens = kept.tokens[:left]
        self.n_evicted += before - left
        if left == 0:
            self._close(kept)
        return True

    def give_sequence(self, *, spare: Kept | None = None) -> bool:
        """Close the least recently used sequence; False when there is none but `spare`."""
        return self.give_way(sys.maxsize, spare=spare)

    def _close(self, kept: Kept) -> None:
        self._kept.remove(kept)
        self._backend.close(kept.seq)
