"""What a request tells while it is on its way: the events that its sink gets, in this order.

Queued*, then (Reading | Scored | Queued)*, then (Token | Shifted | Queued | Reading)*, then End: a request
that gives way to others is queued and read again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeinfer.errors import EdgeInferError

FinishReason = Literal["stop", "length", "deadline", "cancelled", "error"]
Top = tuple[tuple[int, float], ...]  # token ids with their log-probabilities, the likeliest first
MOST_UNREAD = 1024  # events; more show that nobody reads


@dataclass(frozen=True)
class Usage:
    """What a request cost. Times are seconds since it was submitted, or 0 if it did not get there."""

    n_prompt: int
    n_cached: int  # prompt tokens that did not have to be computed
    n_generated: int
    n_dropped: int  # tokens that were forgotten to make room in the context
    queue_s: float  # until it was first computed on
    first_token_s: float
    longest_wait_s: float  # between two tokens
    total_s: float

    @property
    def prompt_per_s(self) -> float:
        """Computed prompt tokens per second, without the time in the queue."""
        reading = self.first_token_s - self.queue_s
        return (self.n_prompt - self.n_cached) / reading if reading > 0 else 0.0

    @property
    def generated_per_s(self) -> float:
        """Tokens per second after the first one."""
        elapsed = self.total_s - self.first_token_s
        return (self.n_generated - 1) / elapsed if self.n_generated > 1 and elapsed > 0 else 0.0


@dataclass(frozen=True)
class QueuedEvent:
    """It waits for room; `position` 1 is next. Told when it changes, seldom while it is high."""

    position: int


@dataclass(frozen=True)
class ReadingEvent:
    """Its prompt is being read: so many of so many tokens are done."""

    n_read: int
    n_prompt: int


@dataclass(frozen=True)
class ScoredToken:
    """A prompt token, with its log-probability given those before it; the first one has none."""

    id: int
    logprob: float | None
    top: Top = ()  # the likeliest in its place


@dataclass(frozen=True)
class ScoredEvent:
    """The next tokens of a prompt that was to be scored."""

    tokens: tuple[ScoredToken, ...]


@dataclass(frozen=True)
class ShiftedEvent:
    """The context was full: tokens behind the first ones were forgotten, the rest is read again."""

    n_dropped: int


@dataclass(frozen=True)
class TokenEvent:
    """A sampled token; `finish` is set on the last one of a request that ends by itself."""

    id: int
    logprob: float
    finish: FinishReason | None
    top: Top = ()  # the likeliest in its place


@dataclass(frozen=True)
class EndEvent:
    """The last event of every request, exactly once."""

    reason: FinishReason
    usage: Usage
    error: EdgeInferError | None  # set when the reason is "error"


Event = QueuedEvent | ReadingEvent | ScoredEvent | ShiftedEvent | TokenEvent | EndEvent
