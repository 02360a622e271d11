"""What a request uses is given back when its answer has left, or its client has, however that comes about."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

if TYPE_CHECKING:
    from edgeinfer.streaming import Stream

_KEY = "edgeinfer.lease"


class Lease:
    """From the arrival of one request to its end.

    Attributes:
        at_end: callbacks that give back what it uses.
        streams: what it waits for, once that is known.
    """

    def __init__(self) -> None:
        self.at_end = ExitStack()
        self.streams: Sequence[Stream] = ()

    @property
    def waits(self) -> bool:
        """Whether nothing of it has been computed yet."""
        return not any(stream.has_started for stream in self.streams)


class Leases:
    """ASGI middleware, the outermost: gives every request its lease, and ends it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        lease = scope[_KEY] = Lease()
        with lease.at_end:
            await self._app(scope, receive, send)


def lease_of(request: Request) -> Lease:
    """Of the request that is being answered."""
    lease: Lease = request.scope[_KEY]
    return lease
