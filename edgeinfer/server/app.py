"""The port: routes of every dialect behind one guard, one way in which errors leave."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeinfer.errors import EdgeInferError
from edgeinfer.server.anthropic.routes import AnthropicRoutes
from edgeinfer.server.failure import Failure
from edgeinfer.server.failures import failure_response
from edgeinfer.server.guard import Guard, Rules
from edgeinfer.server.lease import Leases
from edgeinfer.server.llamacpp.routes import LlamaCppRoutes
from edgeinfer.server.models import Models
from edgeinfer.server.ollama.routes import OllamaRoutes
from edgeinfer.server.openai.routes import OpenAiRoutes
from edgeinfer.server.responses.routes import ResponsesRoutes


def make_app(models: Models, rules: Rules) -> Starlette:
    """The ASGI application that serves these models to whom the rules let in."""

    async def health(request: Request) -> Response:
        if not models.ready:  # requests are taken, and wait
            return JSONResponse({"status": "loading"}, 503)
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/v1/health", health, methods=["GET"]),
            *AnthropicRoutes(models).routes(),
            *OpenAiRoutes(models).routes(),
            *ResponsesRoutes(models).routes(),
            *OllamaRoutes(models).routes(),
            *LlamaCppRoutes(models).routes(),
        ],
        middleware=[Middleware(Leases), Middleware(Guard, rules=rules)],
        exception_handlers={EdgeInferError: _failed, HTTPException: _refused, Exception: _broken},
    )


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, EdgeInferError)
    return failure_response(request.url.path, Failure.of(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    problem = f"there is no {request.url.path} here" if error.status_code == 404 else error.detail
    response = failure_response(request.url.path, Failure(error.status_code, "not_found", problem))
    response.headers.update(error.headers or {})
    return response


async def _broken(request: Request, bug: Exception) -> Response:
    problem = f"internal error: {type(bug).__name__}: {bug}"
    return failure_response(request.url.path, Failure(500, "failed", problem))
