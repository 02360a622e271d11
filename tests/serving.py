"""A live server in this process, for clients that we did not write."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import openai
from installed import COMMAND

import edgeinfer
from edgeinfer.server.app import Limits, make_app
from edgeinfer.server.connection import Connection
from edgeinfer.server.guard import Rules
from edgeinfer.server.models import Models
from edgeinfer.server.port import Port


class Served:
    """A server in a thread, of one open model or of several."""

    model: edgeinfer.Model

    def __init__(
        self,
        served: edgeinfer.Model | Models,
        rules: Rules,
        limits: Limits | None = None,
        connection: type[Connection] = Connection,
    ) -> None:
        if isinstance(served, edgeinfer.Model):
            self.model = served
            served = Models.lent(served)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        self._server = Port(make_app(served, rules, limits), connection=connection, drain_s=1)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self._clients = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def client(self, key: str = "any") -> openai.OpenAI:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, max_retries=0)
        return self._clients.enter_context(client)

    def post(self, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, Any]:
        """A request with these bytes and no other headers than these."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, body, names)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer

    def stop(self) -> None:
        self._clients.close()
        if self._thread.is_alive():
            self._server.stop()
        self._thread.join()


@contextmanager
def serve(
    path: Path | None,
    rules: Rules | None = None,
    limits: Limits | None = None,
    connection: type[Connection] = Connection,
    **options: Any,
) -> Iterator[Served]:
    """Serve this file, None: the bundled model; the server ends before the model is closed."""
    model = edgeinfer.load(path, **{"threads": 2, **options})
    with model, Served(model, rules or Rules(), limits, connection) as server:
        yield server


def eventually(condition: Callable[[], bool]) -> None:
    """Waits for it, 20 seconds at most."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


@contextmanager
def serving(*args: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server of its own, and its port; 0: it has none."""
    command = [*COMMAND, "serve", "--port", "0", "--log-level", "warning", *args]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            told = process.stderr.readline()
            yield process, int(told.split("127.0.0.1:")[1].split("/")[0]) if "127.0.0.1" in told else 0
        finally:
            process.kill()
