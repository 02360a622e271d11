"""Errors as OpenAI's clients read them."""

from __future__ import annotations

from typing import Any

from edgeinfer.server.failure import Failure


def failure_body(failure: Failure) -> dict[str, Any]:
    """The body that goes with the status."""
    kind = "server_error" if failure.status >= 500 else "invalid_request_error"
    if failure.status == 401:
        kind = "authentication_error"
    error: dict[str, Any] = {
        "message": failure.message,
        "type": kind,
        "param": failure.param,
        "code": failure.code,
    }
    if failure.n_prompt is not None:  # as llama.cpp tells them, for llama.vscode
        error |= {"n_prompt_tokens": failure.n_prompt, "n_ctx": failure.n_context}
    return {"error": error}
