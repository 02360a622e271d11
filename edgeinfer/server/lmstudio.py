"""LM Studio's list of models, by which editors find them: GET /api/v0/models."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeinfer.server.models import Models

if TYPE_CHECKING:
    from edgeinfer.server.entry import Entry


class LmStudioRoutes:
    """The routes, over some models."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        """For the application."""
        return [
            Route("/api/v0/models", self._list, methods=["GET"]),
            Route("/api/v0/models/{name:path}", self._show, methods=["GET"]),
        ]

    async def _list(self, request: Request) -> Response:
        entries = await self._models.all()
        data = await asyncio.to_thread(lambda: [*map(_listed, entries)])
        return JSONResponse({"object": "list", "data": data})

    async def _show(self, request: Request) -> Response:
        entry = await self._models.find(request.path_params["name"])
        return JSONResponse(await asyncio.to_thread(_listed, entry))


def _listed(entry: Entry) -> dict[str, Any]:
    """Zed wants every field of it."""
    facts = entry.read_facts()
    return {
        "id": entry.name,
        "object": "model",
        "type": "embeddings" if facts.is_embedder else "llm",
        "publisher": facts.text("general.organization") or "unknown",
        "arch": facts.architecture,
        "compatibility_type": "gguf",
        "quantization": facts.quantization,
        "state": "loaded" if entry.state == "open" else "not-loaded",
        "max_context_length": facts.count("context_length") or 0,
        **({"loaded_context_length": entry.context_length} if entry.state == "open" else {}),
        "capabilities": ["tool_use"] if facts.calls_tools else [],
    }
