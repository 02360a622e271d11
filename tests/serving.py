"""A live server in this process, for clients that we did not write."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import ExitStack
from typing import Any

import openai
import uvicorn

import edgeinfer
from edgeinfer.server.app import make_app
from edgeinfer.server.guard import Rules
from edgeinfer.server.models import Models


class Served:
    """A server in a thread, of one open model or of several."""

    model: edgeinfer.Model

    def __init__(self, served: edgeinfer.Model | Models, rules: Rules) -> None:
        if isinstance(served, edgeinfer.Model):
            self.model = served
            served = Models.lent(served)
        app = make_app(served, rules)
        config = uvicorn.Config(app, port=0, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]
        self._clients = ExitStack()

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
        self._server.should_exit = True
        self._thread.join()
