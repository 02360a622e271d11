"""What went wrong with a request, in the shape that the clients of its path read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.responses import JSONResponse

from edgeinfer.server.anthropic import failure as anthropic
from edgeinfer.server.failure import Failure
from edgeinfer.server.llamacpp import failure as llamacpp
from edgeinfer.server.ollama import failure as ollama
from edgeinfer.server.openai import failure as openai

# the beginning of a path -> its dialect's body; OpenAI's for all others
_SHAPES: dict[str, Callable[[Failure], dict[str, Any]]] = {
    "/api/": ollama.failure_body,
    "/v1/messages": anthropic.failure_body,
    **dict.fromkeys(
        ("/completion", "/infill", "/tokenize", "/detokenize", "/apply-template", "/props", "/slots"),
        llamacpp.failure_body,
    ),
}


def failure_body(path: str, failure: Failure) -> dict[str, Any]:
    """The body that a client of this path understands."""
    for beginning, shape in _SHAPES.items():
        if path.startswith(beginning):
            return shape(failure)
    return openai.failure_body(failure)


def failure_response(path: str, failure: Failure) -> JSONResponse:
    """The whole response."""
    headers = None if failure.retry_after_s is None else {"Retry-After": str(failure.retry_after_s)}
    return JSONResponse(failure_body(path, failure), failure.status, headers)
