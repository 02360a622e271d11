"""Several streams of one request, read together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from edgeinfer.errors import EdgeInferError
from edgeinfer.streaming import Answer, Progress, Stream, Token

Arrivals = AsyncGenerator[tuple[int, Token | Progress], None]  # events, each with the number of its stream


async def finished(streams: Sequence[Stream]) -> list[Answer]:
    """Read streams to their ends, all at once. Raises what the first that fails raises; the others end."""
    try:
        return await asyncio.gather(*map(_finished, streams))
    finally:
        for stream in streams:
            stream.cancel()


async def _finished(stream: Stream) -> Answer:
    return Answer([token async for token in stream], stream)


async def begun(streams: Sequence[Stream]) -> Arrivals:
    """Events as they come, once the first one is there: what is wrong with the request is raised by this.

    Closing what it returns cancels the streams.
    """
    arrivals = _only(streams[0]) if len(streams) == 1 else _merged(streams)
    try:
        first = await anext(arrivals, None)
    except BaseException:
        await arrivals.aclose()
        raise

    async def all_of_them() -> Arrivals:
        async with aclosing(arrivals):
            if first is not None:
                yield first
            async for arrival in arrivals:
                yield arrival

    return all_of_them()


async def _only(stream: Stream) -> Arrivals:
    """As `_merged`, of one, for half of its cost."""
    async with aclosing(aiter(stream.events())) as events:
        async for event in events:
            yield 0, event


async def _merged(streams: Sequence[Stream]) -> Arrivals:
    """Events of several streams as they come, each with the number of its stream."""
    arrivals: asyncio.Queue[tuple[int, Token | Progress | BaseException | None]] = asyncio.Queue(1)

    async def pump(index: int, stream: Stream) -> None:
        try:
            async for event in stream.events():
                await arrivals.put((index, event))
            await arrivals.put((index, None))
        except EdgeInferError as error:
            await arrivals.put((index, error))

    pumps = [asyncio.ensure_future(pump(i, stream)) for i, stream in enumerate(streams)]
    try:
        n_open = len(pumps)
        while n_open:
            index, event = await arrivals.get()
            if isinstance(event, BaseException):
                raise event
            if event is None:
                n_open -= 1
            else:
                yield index, event
    finally:
        for task in pumps:
            task.cancel()
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
