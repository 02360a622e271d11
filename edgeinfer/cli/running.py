"""A server that runs already, as commands ask it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgeinfer.address import Address, unix_path
from edgeinfer.cli.options import Command
from edgeinfer.config.sources import read_settings
from edgeinfer.keys import given_keys

if TYPE_CHECKING:
    from edgeinfer.keys import Key


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
        EdgeInferError: nobody answers there, or what the server says is wrong.
    """
    import asyncio

    from edgeinfer.remote.server import Server

    address = own_address() if url is None else Address.read(url)
    server = Server(address, first_key(given_keys(None)))
    return asyncio.run(server.get(path) if body is None else server.post(path, body))


def first_key(keys: list[Key]) -> str | None:
    """What to show a server."""
    return keys[0].secret if keys else None


def own_address() -> Address:
    """Where `edgeinfer serve` listens on this machine, as it is set."""
    serve = read_settings().serve
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(serve.host, serve.host)
    if unix_path(host) is not None:
        return Address.read(host)
    bracketed = f"[{host}]" if ":" in host else host
    scheme = "http" if serve.ssl_certfile is None else "https"
    return Address.read(f"{scheme}://{bracketed}:{serve.port}")
