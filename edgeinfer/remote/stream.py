"""An answer of a server, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from edgeinfer.engine.events import QueuedEvent, ReadingEvent, ShiftedEvent, Usage
from edgeinfer.errors import NetworkError
from edgeinfer.remote.failures import failure_of
from edgeinfer.streaming import Events, Finish, Progress, Token
from edgeinfer.text.parts import Content, Part, Reasoning

if TYPE_CHECKING:
    from edgeinfer.remote.server import Server

_PATH = "/v1/chat/completions"
_NONE = Usage(0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0)


class RemoteStream:
    """Reads what `streaming.Stream` reads, of one request to a server; nothing is asked before it is read.

    Iterate `events()` once, in asyncio or without. Leaving early closes the connection, which ends the
    request there.

    Attributes:
        finish_reason: why it ended, when it has.
        usage: what it has cost until now, as the server measures it.
    """

    def __init__(self, server: Server, body: dict[str, Any]) -> None:
        self._server, self._body = server, body
        self._cancelled = False
        self._reading: asyncio.Task[None] | None = None
        self._runner: asyncio.Runner | None = None  # of who reads without asyncio
        self._arriving: AsyncGenerator[Token | Progress, None] | None = None
        self.finish_reason: Finish | None = None
        self.usage = _NONE

    def events(self) -> Events:
        """Tokens, and what comes before them. Raises EdgeInferError when it cannot go on."""
        return Events(self._next, self._arrivals)

    def cancel(self) -> None:
        """Stop; the iteration then ends. Safe from any thread."""
        self._cancelled = True
        reading = self._reading
        if reading is not None and not reading.get_loop().is_closed():
            reading.get_loop().call_soon_threadsafe(reading.cancel)

    def close(self) -> None:
        """The same, by who reads it without asyncio."""
        self.cancel()
        if self._runner is not None:
            self._runner.close()

    def _next(self) -> Token | Progress:
        """The next event; waits for it. Raises StopIteration."""
        if self._runner is None:
            self._runner, self._arriving = asyncio.Runner(), self._arrivals()
        try:
            event = self._runner.run(self._arrived())
        except BaseException:
            self.close()
            raise
        if event is None:
            self.close()
            raise StopIteration
        return event

    async def _arrived(self) -> Token | Progress | None:
        assert self._arriving is not None
        return await anext(self._arriving, None)

    async def _arrivals(self) -> AsyncGenerator[Token | Progress, None]:
        arrivals: asyncio.Queue[Token | Progress | None] = asyncio.Queue()
        # A task of its own has the connection: it can be closed at any time, whoever reads.
        reading = self._reading = asyncio.create_task(self._read(arrivals))
        reading.add_done_callback(lambda _: arrivals.put_nowait(None))
        try:
            while not self._cancelled and (event := await arrivals.get()) is not None:
                yield event
            if self._cancelled:
                self.finish_reason = self.finish_reason or "cancelled"
            else:
                await reading
        finally:
            reading.cancel()

    async def _read(self, arrivals: asyncio.Queue[Token | Progress | None]) -> None:
        """Raises what went wrong."""
        async with self._server.stream(_PATH, self._body) as documents:
            async for document in documents:
                for event in self._events_of(document):
                    arrivals.put_nowait(event)
        if self.finish_reason is None:
            hint = "what came is kept; ask again"
            raise NetworkError(f"the answer of {self._server.address} has no end", hint=hint)

    def _events_of(self, document: Any) -> Iterator[Token | Progress]:
        """Of one piece. Raises what it says is wrong."""
        if "error" in document:
            raise failure_of(document, None, str(self._server.address), has_key=True)
        if "prompt_progress" in document:
            yield self._progress(document["prompt_progress"])
        if "timings" in document:
            yield from self._timed(document["timings"])
        for choice in document["choices"]:
            yield from _tokens(choice)
            finish = choice.get("stop_reason") or choice["finish_reason"]  # OpenAI knows no deadline
            if finish is not None:
                self.finish_reason = cast("Finish", str(finish))

    def _progress(self, told: dict[str, Any]) -> Progress:
        n_prompt, position = int(told["total"]), int(told["queue_position"])
        if not self.usage.n_generated:  # else what was told is read again
            total_s = float(told["time_ms"]) / 1e3
            self.usage = replace(_NONE, n_prompt=n_prompt, n_cached=int(told["cache"]), total_s=total_s)
        return QueuedEvent(position) if position else ReadingEvent(int(told["processed"]), n_prompt)

    def _timed(self, told: dict[str, Any]) -> Iterator[ShiftedEvent]:
        n_cached, n_dropped = int(told["cache_n"]), int(told["dropped_n"])
        queue_s = float(told["queue_ms"]) / 1e3
        first_token_s = queue_s + float(told["prompt_ms"]) / 1e3
        if n_dropped > self.usage.n_dropped:
            yield ShiftedEvent(n_dropped - self.usage.n_dropped)
        self.usage = Usage(
            n_prompt=int(told["prompt_n"]) + n_cached,
            n_cached=n_cached,
            n_generated=int(told["predicted_n"]),
            n_dropped=n_dropped,
            queue_s=queue_s,
            first_token_s=first_token_s,
            longest_wait_s=0.0,  # it is not told
            total_s=first_token_s + float(told["predicted_ms"]) / 1e3,
        )


def _tokens(choice: dict[str, Any]) -> Iterator[Token]:
    """The token of a piece, if it has one; of that which ends an answer, when it brings text, -1 is told."""
    delta = choice["delta"]
    reasoning, content = delta.get("reasoning_content") or "", delta.get("content") or ""
    if not (isinstance(reasoning, str) and isinstance(content, str)):
        raise TypeError("what is said is text")
    parts: list[Part] = [Reasoning(reasoning)] if reasoning else []
    if content:
        parts.append(Content(content))
    told = choice["logprobs"]["content"] if choice.get("logprobs") else []
    if told or parts:
        entry: dict[str, Any] = told[0] if told else {"id": -1, "logprob": 0.0}
        yield Token(int(entry["id"]), parts, float(entry["logprob"]))
