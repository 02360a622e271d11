"""What a server says is wrong, as the error that it was there."""

from __future__ import annotations

from typing import Any

from edgeinfer.errors import (
    EXIT_AND_STATUS,
    AccessDenied,
    ContextLengthExceeded,
    EdgeInferError,
    InvalidRequest,
    NetworkError,
    NotFound,
)

_LONGEST = 2000  # characters
_KEY = "EDGEINFER_API_KEY has the key, or a file: --api-key-file"


def failure_of(
    told: Any, status: int | None, where: str, *, has_key: bool, wait: str | None = None
) -> EdgeInferError:
    """An error to raise.

    Args:
        told: the document that came; None: none came.
        status: of HTTP; None: it is in a stream that had begun well.
        where: the server.
        has_key: a key was shown to it.
        wait: seconds, as the server wrote them, after which it may be asked again.
    """
    problem = told.get("error") if isinstance(told, dict) else None
    fields = problem if isinstance(problem, dict) else {"message": problem}
    message = fields.get("message")
    message = message[:_LONGEST] if isinstance(message, str) and message else f"{where} answers {status}"
    if status is None:
        _, status = EXIT_AND_STATUS.get(str(fields.get("code")), EXIT_AND_STATUS["failed"])
    if status == 401:
        return AccessDenied(f"{where} {'does not know this' if has_key else 'wants an'} API key", hint=_KEY)
    if status == 403:
        return AccessDenied(message)
    if status == 404:
        return NotFound(message)
    n_prompt, n_context = fields.get("n_prompt_tokens"), fields.get("n_ctx")
    if isinstance(n_prompt, int) and isinstance(n_context, int):
        least = "at least" in message
        return ContextLengthExceeded(n_prompt, n_context, hint="begin anew, or ask for less", at_least=least)
    if 400 <= status < 500 and status != 429:
        return InvalidRequest(message)
    later = f"it may be asked again in {wait} seconds" if wait is not None and wait.isdecimal() else None
    return NetworkError(f"{where}: {message}", hint=later)
