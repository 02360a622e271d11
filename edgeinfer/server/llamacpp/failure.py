"""Errors as clients of llama.cpp read them."""

from __future__ import annotations

from typing import Any

from edgeinfer.server.failure import Failure

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    501: "not_supported_error",
    503: "unavailable_error",
}


def failure_body(failure: Failure) -> dict[str, Any]:
    """The body that goes with the status, and the last event of a stream that fails."""
    kind = "server_error" if failure.status >= 500 else "invalid_request_error"
    error = {"code": failure.status, "message": failure.message, "type": _TYPES.get(failure.status, kind)}
    if failure.n_prompt is not None:
        error["type"] = "exceed_context_size_error"
        error |= {"n_prompt_tokens": failure.n_prompt, "n_ctx": failure.n_context}
    return {"error": error}
