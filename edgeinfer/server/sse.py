"""Server-sent events: how pieces of a streamed answer are written."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json

MEDIA_TYPE = "text/event-stream"
COMMENT = ": still working\n\n"  # of which clients see nothing


def as_json(value: dict[str, Any]) -> str:
    """On one line; four times as fast as `json.dumps`, and there is one of it for each token."""
    return to_json(value).decode()


def data(value: dict[str, Any]) -> str:
    """An event without a name."""
    return f"data: {as_json(value)}\n\n"


def event(value: dict[str, Any]) -> str:
    """An event with the name that its `type` says."""
    return f"event: {value['type']}\n{data(value)}"
