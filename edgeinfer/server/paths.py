"""Paths as clients spell them."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

_WITHOUT_V1 = ("/chat/completions", "/embeddings", "/models")  # as llama.cpp has them too


class Paths:
    """ASGI middleware: a slash too much, a /v1 too much or too little is no reason to find nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go on with the path that was meant."""
        if scope["type"] == "http":
            scope["path"] = meant(scope["path"])  # in place: the record of the request tells its route
        await self._app(scope, receive, send)


def meant(path: str) -> str:
    """ "/v1/v1/models/" means "/v1/models"."""
    path = "/" + path.strip("/")
    while path.startswith("/v1/v1/"):
        path = path.removeprefix("/v1")
    return f"/v1{path}" if path in _WITHOUT_V1 else path
