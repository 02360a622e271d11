"""Errors as Ollama's clients read them."""

from __future__ import annotations

from typing import Any

from edgeinfer.server.failure import Failure


def failure_body(failure: Failure) -> dict[str, Any]:
    """The body that goes with the status, and the last line of a stream that fails."""
    return {"error": failure.message}
