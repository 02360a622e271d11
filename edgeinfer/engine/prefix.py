"""Sequences kept after their request ended, so that the next turn of a session computes only what is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeinfer.backends.base import Backend, SeqId


@dataclass(frozen=True)
class _Parked:
    seq: SeqId
    tokens: tuple[int, ...]  # exactly what the sequence holds


class ParkedSequences:
    """One sequence per session at most, forgotten oldest first when room is needed."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._by_session: dict[str, _Parked] = {}  # oldest first

    def __len__(self) -> int:
        return len(self._by_session)

    def park(self, session: str, seq: SeqId, tokens: Sequence[int]) -> None:
        """Take over a sequence that holds these tokens; an older one of the session is closed."""
        older = self._by_session.pop(session, None)
        if older is not None:
            self._backend.close(older.seq)
        self._by_session[session] = _Parked(seq, tuple(tokens))

    def n_common(self, session: str | None, tokens: Sequence[int]) -> int:
        """How many first tokens the session's parked sequence has in common; all but one at most."""
        parked = self._by_session.get(session) if session is not None else None
        return 0 if parked is None else min(_common_prefix(parked.tokens, tokens), len(tokens) - 1)

    def take(self, session: str | None, tokens: Sequence[int]) -> tuple[SeqId, int] | None:
        """The session's sequence cut to what it has in common with these tokens, and how many those are.

        None when there is nothing to reuse. The last token is always left to compute, for its logits.
        """
        n = self.n_common(session, tokens)
        if n == 0 or session is None:
            return None
        parked = self._by_session.pop(session)
        return parked.seq, self._backend.truncate(parked.seq, n)

    def forget_oldest(self, *, keep: str | None = None) -> bool:
        """Close the oldest parked sequence that is not of session `keep`; False when there is none."""
        session = next((s for s in self._by_session if s != keep), None)
        if session is None:
            return False
        self._backend.close(self._by_session.pop(session).seq)
        return True


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n
