"""llama.cpp's own programs that serve several clients at once."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edgeinfer.bench.peers import PeerFailed
from edgeinfer.bench.streams import Load, Outcome, StreamRunner
from edgeinfer.errors import InvalidRequest

_START = 120.0  # seconds that a server may need to open the model


class LlamaServerStreams:
    """llama-server, with a slot for each client; it stays open."""

    def __init__(self, program: str, path: str, n_threads: int, largest: Load) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        slots, context = largest.n_streams, largest.n_streams * largest.context
        command = [program, "-m", path, "-t", str(n_threads), "-np", str(slots), "-c", str(context)]
        command += ["--host", "127.0.0.1", "--port", str(self._port)]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.description = Path(program).name
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    def run(self, load: Load, prompts: list[list[int]]) -> Outcome:
        """See StreamRunner."""
        start = time.perf_counter()
        with ThreadPoolExecutor(len(prompts)) as clients:
            first_tokens = list(clients.map(lambda prompt: self._ask(prompt, load.n_answer, start), prompts))
        return Outcome(time.perf_counter() - start, first_tokens)

    def close(self) -> None:
        """End the server."""
        self._server.kill()
        self._server.wait()

    def _ask(self, prompt: list[int], n_answer: int, start: float) -> float:
        """Stream one answer to its end; returns the seconds until its first token."""
        body = {"prompt": prompt, "n_predict": n_answer, "ignore_eos": True, "stream": True}
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        connection.request(
            "POST",
            "/completion",
            json.dumps(body | {"temperature": 0, "cache_prompt": False}),
            {"Content-Type": "application/json"},
        )
        response = connection.getresponse()
        first = None
        for line in response:
            if first is None and line.startswith(b"data:"):
                first = time.perf_counter() - start
        connection.close()
        if response.status != 200 or first is None:
            raise PeerFailed(f"{self.description} answered with status {response.status}")
        return first

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + _START
        while time.monotonic() < end:
            if self._server.poll() is not None:
                raise PeerFailed(f"{self.description} ended with {self._server.returncode}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise PeerFailed(f"{self.description} was not ready after {_START:.0f} s")


class LlamaBatchedBenchStreams:
    """llama-batched-bench, started once a run: all prompts, then all answers in step, without sampling."""

    def __init__(self, program: str, path: str, n_threads: int, largest: Load) -> None:
        self._command = [program, "-m", path, "-t", str(n_threads), "-tb", str(n_threads)]
        self._context = largest.n_streams * largest.context
        self.description = Path(program).name

    def run(self, load: Load, prompts: list[list[int]]) -> Outcome:
        """See StreamRunner; its prompts are its own."""
        command = [*self._command, "-c", str(self._context), "-npl", str(load.n_streams)]
        command += ["-npp", str(load.n_prompt), "-ntg", str(load.n_answer), "--output-format", "jsonl"]
        done = subprocess.run(command, capture_output=True, text=True)
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                return Outcome(float(json.loads(line)["t"]), [])
        last = (done.stderr.strip().splitlines() or ["no figures"])[-1]
        raise PeerFailed(f"{self.description} ended with {done.returncode}: {last}")

    def close(self) -> None:
        """Nothing stays open."""


def open_stream_peer(program: str, path: str, n_threads: int, largest: Load) -> StreamRunner:
    """A llama-server or llama-batched-bench program, told apart by name."""
    if not os.access(program, os.X_OK):
        raise InvalidRequest(f"{program} is not a program", hint="give the path of llama-server")
    runner = LlamaBatchedBenchStreams if "batched" in Path(program).name else LlamaServerStreams
    return runner(program, path, n_threads, largest)
