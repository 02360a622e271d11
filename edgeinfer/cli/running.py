"""A server that runs already, as `ps` and `stop` ask it."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from edgeinfer.cli.options import Command
from edgeinfer.errors import InvalidRequest, NetworkError, NotFound
from edgeinfer.server.listener import unix_path
from edgeinfer.settings import read_settings

_TIMEOUT_S = 10


def server_option(command: Command) -> Command:
    """--url."""
    option = click.option(
        "--url", metavar="URL", help="Of the server, also unix:PATH; default: where `serve` listens here."
    )
    return option(command)


def ask(url: str | None, path: str, body: dict[str, Any] | None = None) -> Any:
    """What the server answers, with the key in EDGEINFER_API_KEY if there is one.

    Args:
        url: None: where `serve` listens as it is set.
        body: to post; None: get.

    Raises:
        NetworkError, NotFound, InvalidRequest.
    """
    url = url or _here()
    key = os.environ.get("EDGEINFER_API_KEY")
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        connection = _connection_to(url)
        try:
            method, sent = ("GET", None) if body is None else ("POST", json.dumps(body))
            connection.request(method, path, sent, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as problem:
        raise NetworkError(
            f"no server of edgeinfer answers at {url}: {problem}", hint="`edgeinfer serve` starts one"
        ) from problem
    if response.status < 400:
        return answer
    told = answer.get("error") if isinstance(answer, dict) else answer
    raise (NotFound if response.status == 404 else InvalidRequest)(f"the server says: {told}")


def _here() -> str:
    serve = read_settings().serve
    if unix_path(serve.host) is not None:
        return serve.host
    return f"{'http' if serve.ssl_certfile is None else 'https'}://127.0.0.1:{serve.port}"


def _connection_to(url: str) -> http.client.HTTPConnection:
    if (path := unix_path(url)) is not None:
        return _UnixConnection(path)
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.netloc, timeout=_TIMEOUT_S)


class _UnixConnection(http.client.HTTPConnection):
    """To a server that listens on a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(str(self._path))
