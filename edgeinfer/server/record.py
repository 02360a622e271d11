"""Each request from its arrival to its end: what the log and the metrics tell of it; and its early end."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeinfer.errors import EdgeInferError

if TYPE_CHECKING:
    from edgeinfer.streaming import Stream

Outcome = Literal["ok", "refused", "failed", "left"]  # left: the client went before the end

_SANE_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


@dataclass(eq=False)
class Record:
    """What is known of a request, and grows until its end."""

    id: str  # in the header x-request-id, for Anthropic's clients request-id
    method: str
    path: str
    began_at: float = field(default_factory=time.perf_counter)
    route: str = ""  # the pattern that the path fits; "" if none does
    key: str = ""  # the name of the key that it brought
    namespace: str = ""  # in which what was computed before is found
    model: str | None = None
    streams: Sequence[Stream] = ()
    status: int | None = None  # None: the client left before there was one
    error: EdgeInferError | None = None  # why it was ended, or failed too late for a status
    at_end: ExitStack = field(default_factory=ExitStack)  # callbacks that give back what it uses
    total_s: float = 0.0  # at its end
    _responded: bool = False
    _left: bool = False

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        if self._left:
            return "left"
        if self.error is not None or self.status is None or self.status >= 500:
            return "failed"
        return "refused" if self.status >= 400 else "ok"

    @property
    def waits(self) -> bool:
        """Whether nothing of it has been computed yet."""
        return not any(stream.has_started for stream in self.streams)

    def follow(self, streams: Sequence[Stream]) -> None:
        """These compute its answer. Raises what has ended the request already."""
        self.streams = streams
        if self.error is not None:
            self.end(self.error)
            raise self.error

    def end(self, error: EdgeInferError) -> None:
        """Stop what it computes; its reader is told why."""
        self.error = error
        for stream in self.streams:
            stream.cancel()

    def check(self) -> None:
        """Raises what has ended it."""
        if self.error is not None:
            raise self.error

    def see_sent(self, message: Message) -> None:
        """The response goes on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message).update({"x-request-id": self.id, "request-id": self.id})
        elif not message.get("more_body", False):
            self._responded = True

    def see_received(self, message: Message) -> None:
        """The request goes on, or its client leaves."""
        if message["type"] == "http.disconnect" and not self._responded:
            self._left = True


def record_of(connection: HTTPConnection) -> Record:
    """Of this request."""
    record: Record = connection.state.record
    return record


class Recorder:
    """ASGI middleware, the outermost, that keeps the records.

    Args:
        routes: endpoint -> the pattern of its paths.
        observers: get each record at its end.
        most_seconds: that a request may take.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Mapping[object, str],
        observers: Sequence[Callable[[Record], None]],
        most_seconds: float | None = None,
    ) -> None:
        self._app, self._routes, self._observers, self._most_seconds = app, routes, observers, most_seconds
        self._open: set[Record] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, and hand its record over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = Record(_id_of(Headers(scope=scope)), scope["method"], scope["path"])
        scope.setdefault("state", {})["record"] = record

        async def send_on(message: Message) -> None:
            record.see_sent(message)
            await send(message)

        async def receive_on() -> Message:
            message = await receive()
            record.see_received(message)
            return message

        self._open.add(record)
        late = self._end_late(record)
        try:
            with record.at_end:
                await self._app(scope, receive_on, send_on)
        finally:
            if late is not None:
                late.cancel()
            self._open.discard(record)
            record.route = self._routes.get(scope.get("endpoint"), "")
            record.total_s = time.perf_counter() - record.began_at
            for observe in self._observers:
                observe(record)

    def end_all(self, error: EdgeInferError) -> None:
        """End all requests that are being served."""
        for record in list(self._open):
            record.end(error)

    def _end_late(self, record: Record) -> asyncio.TimerHandle | None:
        most = self._most_seconds
        if most is None:
            return None
        error = TookTooLong(
            f"the request took longer than {most:g} seconds", hint="what was read is kept: ask again"
        )
        return asyncio.get_running_loop().call_later(most, record.end, error)


class TookTooLong(EdgeInferError):
    """A request was not answered in the time that the server gives it."""

    code = "request_timeout"


class ShuttingDown(EdgeInferError):
    """The server ends and could not wait any longer for this request."""

    code = "shutting_down"


def _id_of(headers: Headers) -> str:
    """The client's own, if it may stand in a log and a header."""
    given = headers.get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else f"req-{uuid.uuid4().hex}"
