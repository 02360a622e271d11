"""Who may ask: programs on this machine, not the web pages that a browser on it shows.

A page on the web can make a browser send requests to a local port: by DNS rebinding (its own name, our
address) or as a simple cross-site POST. Both are refused here, before anything is read (CVE-2024-28224).
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeinfer.server.failure import Failure
from edgeinfer.server.failures import failure_response

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Rules:
    """Who is let in, besides programs that ask this machine by one of its loopback names."""

    hosts: Collection[str] = ()  # further names of this machine, without port
    origins: Collection[str] = ()  # web pages and editors' views that may ask, as https://example.org
    key: str | None = None  # everybody must bring it


class Guard:
    """ASGI middleware that answers for the application when a request may not come in."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in or refuse it."""
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))) is not None:
            await failure_response(scope["path"], refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> Failure | None:
        host, origin = _name_of(headers.get("host", "")), headers.get("origin")
        if host not in _LOOPBACK and host not in self._rules.hosts:
            return Failure(421, "misdirected_request", f"this server is not called {host!r}")
        if origin is not None and origin not in self._rules.origins:
            return Failure(403, "origin_not_allowed", f"pages of {origin} may not ask this server")
        if origin is None and headers.get("sec-fetch-site") == "cross-site":
            return Failure(403, "origin_not_allowed", "other web pages may not ask this server")
        if self._rules.key is not None and not _brings(headers, self._rules.key):
            return Failure(401, "invalid_api_key", "this server wants an API key")
        return None


def _name_of(host: str) -> str:
    """Of a Host header, without the port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def _brings(headers: Headers, key: str) -> bool:
    given = [headers.get("x-api-key"), headers.get("api-key")]
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        given.append(token.strip())
    return any(hmac.compare_digest(text.encode(), key.encode()) for text in given if text is not None)
