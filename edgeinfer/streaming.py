"""Streams: one request's way from the engine's thread to whoever reads it, in a thread or in asyncio."""

from __future__ import annotations

import math
import queue
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, Self

from edgeinfer.engine.events import (
    MOST_UNREAD,
    EndEvent,
    Event,
    FinishReason,
    QueuedEvent,
    ReadingEvent,
    ScoredEvent,
    ScoredToken,
    ShiftedEvent,
    TokenEvent,
    Top,
    Usage,
)
from edgeinfer.text.parts import CallBegun, Part, Reasoning, ToolCall, joined, text_of

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from edgeinfer.engine.doorbell import Doorbell
    from edgeinfer.engine.request import Request
    from edgeinfer.text.reading import Reader


Finish = FinishReason | Literal["tool_calls"]  # why an answer ended: of itself, to call tools, ...


class Source(Protocol):
    """What runs the request: a model, which lives at least as long as its streams."""

    def cancel(self, request: Request, /) -> None: ...
    def wake(self) -> None: ...


@dataclass(frozen=True)
class Token:
    """One sampled token of an answer."""

    id: int
    parts: Sequence[
        Part
    ]  # what has become certain with it: whole characters, often one piece, sometimes none
    logprob: float  # in the model's own distribution, before any sampling parameter
    finish_reason: Finish | None = None  # on the last one: "stop", "tool_calls" or "length"
    top: Top = ()  # the likeliest ids in its place with their logprobs, as many as were asked for

    @property
    def text(self) -> str:
        """Its content."""
        return text_of(self.parts)

    @property
    def reasoning(self) -> str:
        """What it adds to the thoughts before the content."""
        return "".join(part.text for part in self.parts if isinstance(part, Reasoning))


Progress = QueuedEvent | ReadingEvent | ScoredEvent | ShiftedEvent


class Mailbox:
    """Events on their way from the engine's thread. Apart from `Stream`, so that the engine does not keep
    a stream alive that nobody reads any more.
    """

    def __init__(self, doorbell: Doorbell) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.reader: tuple[AbstractEventLoop, Callable[[], object]] | None = None  # whom to wake, and how
        self._doorbell = doorbell

    def put(self, event: Event) -> None:
        """Called in the engine's thread. Raises RuntimeError: the reader's loop has gone."""
        self.events.put(event)
        reader = self.reader
        if reader is not None:
            self._doorbell.press(*reader)

    def put_scored(self, tokens: tuple[ScoredToken, ...]) -> None:
        """Prompt tokens that were scored."""
        self.put(ScoredEvent(tokens))


class Stream:
    """The tokens of one request, as they are computed.

    Iterate it once, with `for` or `async for`; `events()` gives its place in the queue and how far its prompt
    is read too. Leaving early (break, an exception, `close`) cancels the request. Errors of the request are
    raised from the iteration. Who stops reading without leaving stops the request after some 1000 tokens,
    until they read on; nobody else waits for them.
    """

    def __init__(self, source: Source, request: Request, mailbox: Mailbox, reader: Reader) -> None:
        """`Model` makes these; `mailbox.put` is the sink of the request."""
        self._source = source
        self._request = request
        self._mailbox = mailbox
        self._reader = reader
        self._n_tokens = 0
        self._calls = False  # the answer calls a tool
        self._enough: Callable[[str], bool] | None = None
        self._usage: Usage | None = None
        self.scored: list[ScoredToken] = []  # the prompt, as far as it is read, if that was asked for
        self.finish_reason: Finish | None = None

    @property
    def usage(self) -> Usage:
        """What the request has cost until now."""
        return self._usage or self._request.usage()

    @property
    def stopped_by(self) -> str | None:
        """The stop string that ended the answer, or None."""
        return self._reader.stopped_by

    @property
    def has_started(self) -> bool:
        """Whether its prompt is being read, or has been."""
        return self._request.started_at is not None

    @property
    def queue_position(self) -> int:
        """How many requests came first when that was last told, itself included; 0: it did not wait."""
        return self._request.position

    def end_when(self, enough: Callable[[str], bool]) -> None:
        """End, with finish_reason "length", behind the piece of its content that is enough."""
        self._enough = enough

    def cancel(self) -> None:
        """Stop computing; the iteration then ends. Safe from any thread."""
        if self._usage is None:
            self._source.cancel(self._request)

    close = cancel

    def __iter__(self) -> Iterator[Token]:
        return self

    def __next__(self) -> Token:
        """The next token; waits for it."""
        while not isinstance(event := self._next(), Token):
            pass
        return event

    async def __aiter__(self) -> AsyncIterator[Token]:
        async with aclosing(self._arrivals()) as events:
            async for event in events:
                if isinstance(event, Token):
                    yield event

    def events(self) -> Events:
        """Tokens, and what comes before them."""
        return Events(self._next, self._arrivals)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        if getattr(self, "_usage", 0) is None:
            self.cancel()

    def _next(self) -> Token | Progress:
        """The next event that says something to a reader; waits for it. Raises StopIteration."""
        while self._usage is None:
            try:
                event = self._mailbox.events.get()
            except BaseException:  # Ctrl-C while waiting
                self.cancel()
                raise
            taken = self._take(event)
            if taken is not None:
                return taken
        raise StopIteration

    async def _arrivals(self) -> AsyncGenerator[Token | Progress, None]:
        import asyncio  # 20 ms that plain programs need not wait for

        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        self._mailbox.reader = loop, arrived.set
        try:
            while self._usage is None:
                arrived.clear()
                while not self._mailbox.events.empty():
                    taken = self._take(self._mailbox.events.get_nowait())
                    if taken is not None:
                        yield taken
                if self._usage is None:
                    await arrived.wait()
        finally:
            self._mailbox.reader = None
            self.cancel()

    def _take(self, event: Event) -> Token | Progress | None:
        if self._mailbox.events.qsize() == MOST_UNREAD // 2:
            self._source.wake()
        if isinstance(event, EndEvent):
            self._end(event)
            return None
        if self.finish_reason is not None:  # computed after the stop string, before the engine knew
            return None
        if isinstance(event, ScoredEvent):
            self.scored += event.tokens
        return self._token(event) if isinstance(event, TokenEvent) else event

    def _token(self, event: TokenEvent) -> Token:
        self._n_tokens += 1
        parts = [*self._reader.push(event.id)]
        finish: Finish | None = event.finish
        if finish is None and self._enough is not None and self._enough(text_of(parts)):
            finish = "length"
        if finish is not None:
            parts += self._reader.finish()
        if self._reader.done:
            finish = "stop"
        over = finish is not None and event.finish is None
        self._calls = self._calls or any(isinstance(part, CallBegun) for part in parts)
        if finish == "stop" and self._calls:
            finish = "tool_calls"
        self.finish_reason = finish
        if over:
            self.cancel()
        return Token(event.id, parts, event.logprob, finish, event.top)

    def _end(self, event: EndEvent) -> None:
        self._usage = replace(event.usage, n_generated=self._n_tokens)
        self.finish_reason = self.finish_reason or event.reason
        if event.error is not None:
            raise event.error


@dataclass(frozen=True)
class Answer:
    """A stream that was read to its end."""

    tokens: list[Token]
    stream: Stream

    @property
    def text(self) -> str:
        """All of its content."""
        return "".join(token.text for token in self.tokens)

    @property
    def reasoning(self) -> str:
        """What the model thought before it."""
        return "".join(token.reasoning for token in self.tokens)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tools that it calls, in order."""
        return joined([part for token in self.tokens for part in token.parts])

    @property
    def mean_logprob(self) -> float:
        """How likely the model finds its tokens, on average; -inf without tokens."""
        n = len(self.tokens)
        return sum(token.logprob for token in self.tokens) / n if n else -math.inf


class Events:
    """What a stream tells: read it with `for` or `async for`, once, and not beside the stream itself."""

    def __init__(
        self,
        next_one: Callable[[], Token | Progress],
        arrivals: Callable[[], AsyncGenerator[Token | Progress, None]],
    ) -> None:
        """For `Stream.events`."""
        self._next, self._arrivals = next_one, arrivals

    def __iter__(self) -> Iterator[Token | Progress]:
        return self

    def __next__(self) -> Token | Progress:
        """The next event; waits for it."""
        return self._next()

    def __aiter__(self) -> AsyncGenerator[Token | Progress, None]:
        return self._arrivals()
