"""What a request cost, in the words of llama.cpp; its clients read them in OpenAI's answers too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeinfer.engine.events import QueuedEvent

if TYPE_CHECKING:
    from edgeinfer.engine.events import ReadingEvent, Usage


def timings(usages: Sequence[Usage]) -> dict[str, Any]:
    """Of answers that were computed side by side: their tokens together, the time of the slowest.

    Times are milliseconds; `prompt_n` counts the tokens that were computed, `cache_n` those found computed.
    What llama.cpp does not have: `queue_ms` until the first computation, and `dropped_n` tokens that gave way
    in a full context.
    """
    cached = sum(usage.n_cached for usage in usages)
    read = sum(usage.n_prompt for usage in usages) - cached
    written = sum(usage.n_generated for usage in usages)
    reading = max(usage.first_token_s - usage.queue_s for usage in usages) * 1e3
    writing = max(usage.total_s - usage.first_token_s for usage in usages) * 1e3
    return {
        "cache_n": cached,
        **_speed("prompt", read, reading),
        **_speed("predicted", written, writing),
        "queue_ms": max(usage.queue_s for usage in usages) * 1e3,
        "dropped_n": sum(usage.n_dropped for usage in usages),
    }


def prompt_progress(usage: Usage, event: QueuedEvent | ReadingEvent) -> dict[str, Any]:
    """How far a prompt is; `queue_position`, which llama.cpp does not have, is 0 once it is being read."""
    progress = {"cache": usage.n_cached, "time_ms": round(usage.total_s * 1e3)}
    if isinstance(event, QueuedEvent):
        return {**progress, "total": usage.n_prompt, "processed": 0, "queue_position": event.position}
    return {**progress, "total": event.n_prompt, "processed": event.n_read, "queue_position": 0}


def _speed(what: str, n: int, took_ms: float) -> dict[str, Any]:
    took_ms = max(0.0, took_ms)
    return {
        f"{what}_n": n,
        f"{what}_ms": took_ms,
        f"{what}_per_token_ms": took_ms / n if n else 0.0,
        f"{what}_per_second": n / took_ms * 1e3 if took_ms else 0.0,
    }
