"""Who may ask: programs on this machine, not the web pages that a browser on it shows.

A page on the web can make a browser send requests to a local port: by DNS rebinding (its own name, our
address) or as a simple cross-site POST. Both are refused here, before anything is read (CVE-2024-28224).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeinfer.keys import Key
from edgeinfer.server.failure import Failure, quoted
from edgeinfer.server.failures import failure_response


@dataclass(frozen=True)
class Rules:
    """Who is let in, besides programs that ask this machine by one of its loopback names."""

    hosts: Collection[str] = ()  # further names of this machine, without port
    addresses: bool = False  # also by whatever address; a web page has a name
    origins: Collection[str] = ()  # web pages and editors' views that may ask, as https://example.org
    keys: Sequence[Key] = ()  # everybody must bring one of them, if there are any


class Guard:
    """ASGI middleware that answers for the application when a request may not come in."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in or refuse it."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            await failure_response(scope, refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Failure | None:
        headers = Headers(scope=scope)
        host, origin = _name_of(headers.get("host", "")), headers.get("origin")
        if not self._is_ours(host):
            problem = f"this server is not called {quoted(host)}; see --allow-host"
            return Failure(421, "misdirected_request", problem)
        if origin is None:
            if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                return Failure(403, "origin_not_allowed", "other web pages may not ask this server")
            return None
        if origin not in self._rules.origins:
            problem = f"pages of {quoted(origin)} may not ask this server; see --cors-origins"
            return Failure(403, "origin_not_allowed", problem)
        if scope["method"] == "POST" and _media_type(headers) != "application/json":
            problem = "what a web page sends must have the content type application/json"
            return Failure(415, "unsupported_media_type", problem)
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            return host == "localhost" or host in self._rules.hosts
        return address.is_loopback or self._rules.addresses or host in self._rules.hosts


def _name_of(host: str) -> str:
    """Of a Host header, without the port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
