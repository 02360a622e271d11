"""A stream shows that it goes on as long as there is nothing to tell, and tells errors that come late."""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from gated import Gated
from serving import eventually

from edgeinfer.server import pieces

WORDS = "one of the words that we know "
# path -> what its last piece says
ENDS = {
    "/v1/chat/completions": "[DONE]",
    "/v1/completions": "[DONE]",
    "/v1/messages": '"type":"message_stop"',
    "/v1/responses": '"type":"response.incomplete"',
    "/completion": '"stop":true',
    "/api/chat": '"done":true',
    "/api/generate": '"done":true',
}


@pytest.fixture
def gated(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gated]:
    monkeypatch.setattr(pieces, "QUIET_S", 0.2)
    with Gated(random_model) as server:
        yield server


def body_for(path: str, text: str) -> dict[str, Any]:
    limits = {"max_tokens": 3, "max_output_tokens": 3, "options": {"num_predict": 3}}
    body = {**limits, "seed": 3, "stream": True}
    if path.endswith(("/chat/completions", "/messages", "/chat")):
        return {**body, "messages": [{"role": "user", "content": text}]}
    return {**body, "input" if path == "/v1/responses" else "prompt": text}


def ask_all(gated: Gated, stack: ExitStack, text: str) -> dict[str, http.client.HTTPResponse]:
    """The beginning of a response on each path."""
    connections = {}
    for path in ENDS:
        connections[path] = http.client.HTTPConnection("127.0.0.1", gated.port, timeout=20)
        stack.callback(connections[path].close)
        connections[path].request("POST", path, json.dumps(body_for(path, text)))
    return {path: connection.getresponse() for path, connection in connections.items()}


def is_sign_of_life(path: str, line: bytes) -> bool:
    """Whether clients read on and see nothing of it."""
    if not path.startswith("/api/"):
        return line.startswith(b":")
    part = json.loads(line)
    return not part["done"] and (part.get("response") or part.get("message", {}).get("content")) in (None, "")


def test_a_stream_whose_prompt_takes_long_shows_life_in_every_dialect(gated: Gated) -> None:
    busy = gated.send("/v1/chat/completions", WORDS)
    eventually(gated.backend.entered.is_set)  # while this is computed nobody is told anything
    with ExitStack() as stack:
        responses = ask_all(gated, stack, WORDS)
        for path, response in responses.items():
            assert response.status == 200
            for _ in range(3):
                line = response.readline()
                assert is_sign_of_life(path, line), (path, line)
                if not path.startswith("/api/"):
                    assert response.readline() == b"\n"
        busy.close()
        gated.gate.set()
        for path, response in responses.items():
            *_, last = response.read().decode().strip().splitlines()
            assert ENDS[path] in last


def test_an_error_that_comes_soon_has_its_status_in_every_dialect(gated: Gated) -> None:
    gated.gate.set()
    with ExitStack() as stack:
        for path, response in ask_all(gated, stack, WORDS * 300).items():
            assert response.status == 400, path
            assert "error" in json.loads(response.read())


def test_an_error_that_comes_late_is_told_in_every_dialect(
    gated: Gated, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("edgeinfer").propagate = True
    busy = gated.send("/v1/chat/completions", WORDS)
    eventually(gated.backend.entered.is_set)
    with ExitStack() as stack, caplog.at_level(logging.INFO, "edgeinfer.access"):
        responses = ask_all(gated, stack, WORDS * 300)
        busy.close()
        gated.gate.set()
        for path, response in responses.items():
            assert response.status == 200
            told = [
                json.loads(line.removeprefix("data: "))
                for line in response.read().decode().splitlines()
                if line.startswith(("data: {", "{"))
            ][-1]
            assert "tokens" in json.dumps(told), (path, told)
            assert told.get("type") == "error" or "error" in told, (path, told)
        eventually(lambda: len(caplog.records) > len(responses))
        lines = [record.getMessage() for record in caplog.records]
        assert sum("outcome=failed" in line for line in lines) == len(responses), lines
