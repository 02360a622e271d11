"""What went wrong with a request, in the shape that its client reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Scope

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


def failure_response(scope: Scope, failure: Failure) -> JSONResponse:
    """The whole response to a request."""
    headers = None if failure.retry_after_s is None else {"Retry-After": str(failure.retry_after_s)}
    return JSONResponse(_shape(scope)(failure), failure.status, headers)


def _shape(scope: Scope) -> Callable[[Failure], dict[str, Any]]:
    if "anthropic-version" in Headers(scope=scope):  # /v1/models is OpenAI's path too
        return anthropic.failure_body
    return next(
        (shape for path, shape in _SHAPES.items() if scope["path"].startswith(path)), openai.failure_body
    )
