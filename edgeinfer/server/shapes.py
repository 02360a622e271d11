"""Errors in the shape that the clients of a path read."""

from __future__ import annotations

from typing import Any


def in_dialect_of(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body of an error for a client of this path; `body` has OpenAI's shape, which says the most."""
    return {"error": body["error"]["message"]} if path.startswith("/api/") else body
