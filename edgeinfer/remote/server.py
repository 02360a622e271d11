"""One server, asked over HTTP; what goes wrong is an error of ours that says what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from ssl import SSLContext
from typing import Any

import httpx2

from edgeinfer.address import Address
from edgeinfer.errors import NetworkError
from edgeinfer.remote.failures import failure_of

_CONNECT_S = 5.0
_ANSWER_S = 20.0  # for what is short
_SILENCE_S = 30.0  # of a stream, which shows every five seconds that it goes on
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError)  # of documents that are none of ours
_START = "`edgeinfer serve` starts one"


class Server:
    """A running `edgeinfer serve`.

    Each request has a connection of its own, so a server that was restarted is simply asked again. Requests
    to this machine pass by the proxies of the environment.

    Args:
        key: what it wants to be shown; None: nothing.
    """

    def __init__(self, address: Address, key: str | None = None) -> None:
        self.address = address
        self._key = key

    async def get(self, path: str, *, within_s: float = _ANSWER_S) -> Any:
        """A document. Raises EdgeInferError."""
        return await self._ask("GET", path, None, within_s)

    async def post(self, path: str, body: Any, *, within_s: float = _ANSWER_S) -> Any:
        """The answer to a document. Raises EdgeInferError."""
        return await self._ask("POST", path, body, within_s)

    @asynccontextmanager
    async def stream(self, path: str, body: Any) -> AsyncIterator[AsyncIterator[Any]]:
        """The answer in pieces, as they come; the server stops when this is left. Raises EdgeInferError."""
        with self._telling():
            async with self._client(_SILENCE_S) as client, client.stream("POST", path, json=body) as response:
                await self._check(response)
                yield _documents(httpx2.EventSource(response))

    async def _ask(self, method: str, path: str, body: Any, within_s: float) -> Any:
        try:
            with self._telling():
                async with asyncio.timeout(within_s), self._client(within_s) as client:
                    response = await client.request(method, path, json=body)
                    await self._check(response)
                    return response.json()
        except TimeoutError:
            raise NetworkError(f"{self.address} has not answered within {within_s:g} seconds") from None

    def _client(self, silence_s: float) -> httpx2.AsyncClient:
        socket = self.address.socket
        return httpx2.AsyncClient(
            base_url=self.address.url,
            headers={} if self._key is None else {b"Authorization": f"Bearer {self._key}".encode()},
            timeout=httpx2.Timeout(silence_s, connect=_CONNECT_S),
            trust_env=not self.address.is_here,
            verify=self._certificates,
            transport=None if socket is None else httpx2.AsyncHTTPTransport(uds=str(socket)),
        )

    @cached_property
    def _certificates(self) -> SSLContext | bool:
        """Whom to believe; SSL_CERT_FILE also on this machine."""
        return httpx2.create_ssl_context() if self.address.url.startswith("https:") else False

    async def _check(self, response: httpx2.Response) -> None:
        """Raises what a status means."""
        if response.is_redirect:
            where = response.headers.get("location", "nowhere")
            raise NetworkError(f"{self.address} sends on to {where:.200}", hint="connect to that itself")
        if response.is_error:
            try:
                told = json.loads(await response.aread())
            except ValueError:
                told = None
            wait, has_key = response.headers.get("retry-after"), self._key is not None
            raise failure_of(told, response.status_code, str(self.address), has_key=has_key, wait=wait)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Errors of the connection, and of what does not speak as we do."""
        try:
            yield
        except httpx2.TransportError as error:
            raise self._lost(error) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, RecursionError, *_MALFORMED) as error:
            why = f"{type(error).__name__}: {error}"
            raise NetworkError(f"{self.address} does not answer as edgeinfer does: {why:.200}") from error

    def _lost(self, error: httpx2.TransportError) -> NetworkError:
        why = str(error) or type(error).__name__
        if "SSL" in why or "CERTIFICATE" in why:
            hint = "SSL_CERT_FILE names who signs its certificate; a server without one is http://"
            return NetworkError(f"no safe connection to {self.address}: {why}", hint=hint)
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return NetworkError(f"no server answers at {self.address}: {why}", hint=_START)
        if isinstance(error, httpx2.SSEError):
            return NetworkError(f"{self.address} does not answer as edgeinfer does: {why}")
        if isinstance(error, httpx2.TimeoutException):
            return NetworkError(f"nothing has come from {self.address} for a while", hint="ask again")
        hint = "what came is kept; ask again when it runs"
        return NetworkError(f"the connection to {self.address} is lost: {why}", hint=hint)


async def _documents(source: httpx2.EventSource) -> AsyncIterator[Any]:
    async for event in source:
        if event.data != "[DONE]":
            yield json.loads(event.data)
