"""Bodies of Ollama's answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from edgeinfer.server.ollama.requests import Body, ChatBody

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.streaming import Stream


def part(body: Body, model: Model, text: str) -> dict[str, Any]:
    """Some text of an answer that goes on."""
    said: dict[str, Any] = {"response": text}
    if isinstance(body, ChatBody):
        said = {"message": {"role": "assistant", "content": text}}
    return {"model": model.name, "created_at": now(), **said, "done": False}


def ending(body: Body, model: Model, text: str, stream: Stream | None) -> dict[str, Any]:
    """The last text of an answer, or all of it, with what it cost; durations are nanoseconds.

    Args:
        stream: read to its end; None: nothing was asked.
    """
    if stream is None:
        return {**part(body, model, text), "done": True, "done_reason": "load"}
    usage = stream.usage
    reading, answering = usage.first_token_s - usage.queue_s, usage.total_s - usage.first_token_s
    return {
        **part(body, model, text),
        "done": True,
        "done_reason": stream.finish_reason,
        "total_duration": _nanoseconds(usage.total_s),
        "load_duration": 0,
        "prompt_eval_count": usage.n_prompt,
        "prompt_eval_duration": _nanoseconds(reading),
        "eval_count": usage.n_generated,
        "eval_duration": _nanoseconds(answering),
    }


def now() -> str:
    """As Ollama writes times."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))
