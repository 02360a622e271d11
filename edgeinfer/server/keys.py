"""Who may ask: everybody who brings a key."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeinfer.keys import Key
from edgeinfer.server.failure import Failure
from edgeinfer.server.failures import failure_response
from edgeinfer.server.record import record_of


class KeyCheck:
    """ASGI middleware: everybody must bring one of the keys."""

    def __init__(self, app: ASGIApp, keys: Sequence[Key]) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in, or refuse it."""
        if scope["type"] == "http":
            key = self._brought(Headers(scope=scope))
            if key is None:
                failure = Failure(401, "invalid_api_key", "this server wants an API key")
                await failure_response(scope, failure)(scope, receive, send)
                return
            record = record_of(HTTPConnection(scope))
            record.key, record.namespace = key.name, key.namespace
        await self._app(scope, receive, send)

    def _brought(self, headers: Headers) -> Key | None:
        """Compared with all of them, and in the same time whatever is alike."""
        given = [headers.get("x-api-key"), headers.get("api-key")]
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given.append(token.strip())
        texts = [text.encode("latin-1") for text in given if text is not None]
        found = [
            key for key in self._keys for text in texts if hmac.compare_digest(text, key.secret.encode())
        ]
        return found[0] if found else None
