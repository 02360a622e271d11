"""Errors as Anthropic's clients read them."""

from __future__ import annotations

from typing import Any

from edgeinfer.server.failure import Failure

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def failure_body(failure: Failure) -> dict[str, Any]:
    """The body that goes with the status, and the last event of a stream that fails."""
    kind = _TYPES.get(failure.status, "api_error" if failure.status >= 500 else "invalid_request_error")
    message = failure.message
    if failure.n_prompt is not None:  # Claude Code looks for these words, and then shortens the prompt
        message = f"prompt is too long: {failure.n_prompt} tokens > {failure.n_context} maximum; {message}"
    return {"type": "error", "error": {"type": kind, "message": message}}
