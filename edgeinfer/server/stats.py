"""What the engine of a model is doing, for the panel of `edgeinfer chat --connect`."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgeinfer.errors import NotFound
from edgeinfer.server.models import Models


class StatsRoutes:
    """GET /stats?model=NAME: a `Report`, without a name that of the first model. Looking opens none."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def routes(self) -> list[Route]:
        """For the application."""
        return [Route("/stats", self._stats, methods=["GET"])]

    async def _stats(self, request: Request) -> Response:
        entry = await self._models.find(request.query_params.get("model"))
        if entry.model is None:
            raise NotFound(f"{entry.name} is not open", hint="the next question opens it")
        return JSONResponse(asdict(await entry.model.report()))
