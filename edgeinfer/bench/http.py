"""`edgeinfer bench http`: what the port adds to a token, beside the same streams read in the process."""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeinfer.bench.machine import Disturbance, Watch

if TYPE_CHECKING:
    from edgeinfer.client import Model

_PROMPT = list(range(5, 21))  # short: reading it is not what is measured


@dataclass(frozen=True)
class HttpReport:
    """All that a run found; seconds of whole rounds."""

    model: str
    n_streams: int
    n_answer: int  # tokens of each stream
    in_process: list[float]
    over_http: list[float]
    disturbance: Disturbance

    @property
    def added_ms(self) -> float:
        """To a token of a stream: half of the rounds added less, each beside one in the process."""
        pairs = zip(self.over_http, self.in_process, strict=True)
        return 1e3 * statistics.median(http - alone for http, alone in pairs) / self.n_answer

    def as_json(self) -> dict[str, Any]:
        """One document."""
        return {
            "model": self.model,
            "streams": self.n_streams,
            "answer": self.n_answer,
            "in_process_s": self.in_process,
            "over_http_s": self.over_http,
            "added_ms_per_token": self.added_ms,
            "disturbance": self.disturbance.as_json(),
        }


def measure_http(
    model: Model, *, n_streams: int, n_answer: int, repetitions: int, advance: Callable[[], None]
) -> HttpReport:
    """Stream the same answers over HTTP to another process and to readers in this one, in turns."""
    watch = Watch()
    never_ends = dict.fromkeys(model.tokenizer.eog_ids, -1e4)
    asked: dict[str, Any] = {"max_tokens": n_answer, "temperature": 0, "logit_bias": never_ends}
    prompts = [[i + 1, *_PROMPT] for i in range(n_streams)]
    in_process, over_http = [], []
    with _Server(model) as server, _Client(server.port, prompts, asked) as client:
        for i in range(repetitions + 1):
            times = client.round(), asyncio.run(_read_all(model, prompts, asked))
            if i > 0:  # the first round finds memory and connections
                over_http.append(times[0])
                in_process.append(times[1])
                advance()
    return HttpReport(model.name, n_streams, n_answer, in_process, over_http, watch.stop())


async def _read_all(model: Model, prompts: Sequence[list[int]], asked: dict[str, Any]) -> float:
    """Seconds."""

    async def read(prompt: list[int]) -> None:
        async for _ in model.generate(prompt, **asked):
            pass

    start = time.perf_counter()
    await asyncio.gather(*map(read, prompts))
    return time.perf_counter() - start


class _Server:
    """The port, in a thread."""

    def __init__(self, model: Model) -> None:
        from edgeinfer.server.app import make_app
        from edgeinfer.server.guard import Rules
        from edgeinfer.server.models import Models
        from edgeinfer.server.port import Port

        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._port = Port(make_app(Models.lent(model), Rules()))
        self._thread = threading.Thread(target=self._port.run, kwargs={"sockets": [self._listener]})

    def __enter__(self) -> _Server:
        self._thread.start()
        while not self._port.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *exception: object) -> None:
        self._port.stop()
        self._thread.join()
        self._listener.close()


class _Client:
    """`http_client` as a process."""

    def __init__(self, port: int, prompts: Sequence[list[int]], asked: dict[str, Any]) -> None:
        bodies = [{"prompt": prompt, "stream": True, **asked} for prompt in prompts]
        command = [sys.executable, "-P", "-m", "edgeinfer.bench.http_client"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, text=True, bufsize=1, stdin=pipe, stdout=pipe)
        self._tell(json.dumps({"port": port, "bodies": bodies}))

    def round(self) -> float:
        """Ask for all streams once; seconds until the last has ended."""
        self._tell("")
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.communicate()
