"""Server-sent events: how pieces of a streamed answer are written."""

from __future__ import annotations

import json
from typing import Any


def data(value: dict[str, Any]) -> str:
    """An event without a name."""
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def event(value: dict[str, Any]) -> str:
    """An event with the name that its `type` says."""
    return f"event: {value['type']}\n{data(value)}"
