"""Many clients at once, a third of which leave in the middle: the others get what they would get alone.

CROWD_SECONDS=120 runs it as long as it was meant to be run by hand; one round is enough to fail here.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import openai
import psutil
from installed import COMMAND

SECONDS = float(os.environ.get("CROWD_SECONDS", "4"))
N_CLIENTS = 64
QUESTIONS = (
    "How do I download a model?",
    "What can you do?",
    "How do I start the server?",
    "Who are you?",
    "How do I see which models are here?",
    "What is a draft model?",
)
N_SEEDS = 4
# Of resident memory, once everything has run once; buffers grow for some 50 s of a crowd before they stay.
GROWTH = 1.05 if SECONDS >= 60 else 1.25


@contextmanager
def serving() -> Iterator[tuple[str, psutil.Process]]:
    """Where, and the process."""
    command = [*COMMAND, "serve", "edgeinfer-tiny", "--port", "0", "-c", "512"]
    command += ["--log-level", "warning"]  # nobody reads lines of requests, and a full pipe stops the server
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        told = process.stderr.readline()
        address = re.search(r"http://[0-9.:]+", told)
        assert address is not None, told
        yield address[0], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.communicate(timeout=60)


class Crowd:
    """Clients that ask until the time is up."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client
        self._alone: dict[tuple[str, int], str] = {}
        self.n_whole = self.n_left = 0

    async def ask_alone(self) -> None:
        """The right answers."""
        for question in QUESTIONS:
            for seed in range(N_SEEDS):
                text, reason = await self._read(question, seed, leave_after=None)
                assert reason in ("stop", "length")
                self._alone[question, seed] = text

    async def ask_together(self, seconds: float) -> None:
        """All clients, each with its own choice of questions."""
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._client_until(end, random.Random(i)) for i in range(N_CLIENTS)))

    async def _client_until(self, end: float, choice: random.Random) -> None:
        while time.monotonic() < end:
            question, seed = choice.choice(QUESTIONS), choice.randrange(N_SEEDS)
            if choice.random() < 1 / 3:
                await self._read(question, seed, leave_after=choice.randrange(12))
                self.n_left += 1
                continue
            text, _ = await self._read(question, seed, leave_after=None)
            assert text == self._alone[question, seed], f"{question} with seed {seed}"
            self.n_whole += 1

    async def _read(self, question: str, seed: int, *, leave_after: int | None) -> tuple[str, str | None]:
        """Text and finish reason of a streamed answer; or the beginning, for a client that leaves."""
        text, reason, n = "", None, 0
        async with await self._client.chat.completions.create(
            model="edgeinfer-tiny",
            messages=[{"role": "user", "content": question}],
            max_tokens=60,
            seed=seed,
            stream=True,
        ) as stream:
            async for chunk in stream:
                if n == leave_after:
                    break
                n += 1
                text += chunk.choices[0].delta.content or ""
                reason = chunk.choices[0].finish_reason or reason
        return text, reason


def test_a_crowd_that_comes_and_goes_gets_right_answers() -> None:
    async def scenario(address: str, process: psutil.Process) -> Crowd:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
            crowd = Crowd(client)
            await crowd.ask_alone()
            await crowd.ask_together(SECONDS / 2)  # buffers and caches grow to what a crowd needs
            before = process.memory_info().rss
            await crowd.ask_together(SECONDS)
            await crowd.ask_alone()
            after = process.memory_info().rss
        print(f"{crowd.n_whole} whole, {crowd.n_left} left; {before >> 20} MiB before, {after >> 20} after")
        assert after < before * GROWTH
        return crowd

    with serving() as (address, process):
        crowd = asyncio.run(scenario(address, process))
        assert crowd.n_whole > N_CLIENTS // 2
        assert crowd.n_left > 0
        assert process.status() != psutil.STATUS_ZOMBIE
