"""Vectors of texts, in whatever dialect they are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future

from edgeinfer.engine.embedding import Embedding

MOST_TEXTS = 2048  # of one request, as OpenAI has it: each takes some kilobytes while it waits


async def gathered(futures: Sequence[Future[Embedding]]) -> list[Embedding]:
    """Their results, in order. When one fails, or nobody waits any more, none goes on."""
    try:
        return await asyncio.gather(*map(asyncio.wrap_future, futures))
    finally:
        for future in futures:
            future.cancel()
