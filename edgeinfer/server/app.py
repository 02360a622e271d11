"""The port: routes of every dialect behind one guard, one way in which errors leave."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import edgeinfer
from edgeinfer.errors import EdgeInferError
from edgeinfer.server.access_log import log_request
from edgeinfer.server.anthropic.routes import AnthropicRoutes
from edgeinfer.server.failure import Failure, quoted
from edgeinfer.server.failures import failure_response
from edgeinfer.server.guard import Guard, Rules
from edgeinfer.server.keys import KeyCheck
from edgeinfer.server.llamacpp.routes import LlamaCppRoutes
from edgeinfer.server.lmstudio import LmStudioRoutes
from edgeinfer.server.metrics import CONTENT_TYPE, Metrics, Targets
from edgeinfer.server.models import Models
from edgeinfer.server.ollama.routes import OllamaRoutes
from edgeinfer.server.openai.routes import OpenAiRoutes
from edgeinfer.server.openapi import document
from edgeinfer.server.paths import Paths
from edgeinfer.server.record import Recorder
from edgeinfer.server.responses.routes import ResponsesRoutes
from edgeinfer.server.stats import StatsRoutes


@dataclass(frozen=True)
class Limits:
    """What one request may take, and what is a good answer to it."""

    request_s: float | None = None  # until its end
    targets: Targets = field(default_factory=Targets)


def make_app(models: Models, rules: Rules, limits: Limits | None = None) -> Recorder:
    """The ASGI application that serves these models to whom the rules let in."""

    async def health(request: Request) -> Response:
        if not models.ready:  # requests are taken, and wait
            return JSONResponse({"status": "loading"}, 503)
        names = [model.name for model in models.open_ones()]
        return JSONResponse({"status": "ok", "server": f"edgeinfer {edgeinfer.__version__}", "models": names})

    limits = limits or Limits()
    metrics = Metrics(limits.targets)
    routes = [
        Route("/health", health, methods=["GET"]),
        Route("/v1/health", health, methods=["GET"]),
        Route("/metrics", partial(_metrics, metrics, models), methods=["GET"]),
        *AnthropicRoutes(models).routes(),
        *OpenAiRoutes(models).routes(),
        *ResponsesRoutes(models).routes(),
        *OllamaRoutes(models).routes(),
        *LlamaCppRoutes(models).routes(),
        *LmStudioRoutes(models).routes(),
        *StatsRoutes(models).routes(),
    ]
    described = document(routes)
    routes.append(Route("/openapi.json", lambda request: JSONResponse(described), methods=["GET"]))
    app = Starlette(
        routes=routes,
        middleware=_middleware(rules),
        exception_handlers={EdgeInferError: _failed, HTTPException: _refused, Exception: _broken},
    )
    patterns: dict[object, str] = {route.endpoint: route.path for route in routes}
    return Recorder(app, patterns, (log_request, metrics.observe), limits.request_s)


def _middleware(rules: Rules) -> list[Middleware]:
    """In the order in which a request meets them. A page asks what it may before it may bring its key."""
    asked = [Middleware(Paths), Middleware(Guard, rules=rules)]
    if rules.origins:
        asked.append(
            Middleware(
                CORSMiddleware,
                allow_origins=rules.origins,
                allow_methods=("GET", "HEAD", "POST", "DELETE"),
                allow_headers=("*",),
                expose_headers=("x-request-id",),
            )
        )
    if rules.keys:
        asked.append(Middleware(KeyCheck, keys=rules.keys))
    return asked


async def _metrics(metrics: Metrics, models: Models, request: Request) -> Response:
    text = await asyncio.to_thread(metrics.text, models.open_ones())
    return Response(text, media_type=CONTENT_TYPE)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, EdgeInferError)
    return failure_response(request.scope, Failure.of(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405 and request.method in ("HEAD", "OPTIONS"):  # it only looks
        return Response(status_code=204, headers=error.headers)
    status = HTTPStatus(error.status_code)
    problem = f"there is no {quoted(request.url.path)} here" if status == 404 else error.detail
    response = failure_response(request.scope, Failure(status, status.name.lower(), problem))
    response.headers.update(error.headers or {})
    return response


async def _broken(request: Request, bug: Exception) -> Response:
    problem = f"internal error: {type(bug).__name__}: {bug}"
    return failure_response(request.scope, Failure(500, "failed", problem))
