"""`edgeinfer serve`: a port for editors and agents."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from edgeinfer.cli import output
from edgeinfer.cli.options import model_options, take_model
from edgeinfer.errors import DiskError, InvalidRequest, PortTaken


@click.command("serve", short_help="Answer editors and agents on a port.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: a free one.")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Everybody must bring the key in it, or the one in EDGEINFER_API_KEY.",
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="Another name of this machine.")
@click.option("--allow-origin", multiple=True, metavar="URL", help="Web pages that may ask.")
@model_options
def command(
    models: tuple[str, ...],
    host: str,
    port: int,
    api_key_file: Path | None,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    **options: Any,
) -> None:
    """Serve MODELs, files or bundled models, in OpenAI's dialect; without any the bundled edgeinfer-tiny.

    Only programs on this machine are answered, no web pages. To listen elsewhere needs an API key.

    \b
    edgeinfer serve model.gguf
    curl localhost:8080/v1/chat/completions -d '{"messages": [{"role": "user", "content": "Hi"}]}'
    """
    api_key = _key(api_key_file)
    if api_key is None and not _is_loopback(host):
        raise InvalidRequest(
            f"{host} can be reached from other machines: that needs an API key",
            hint="give --api-key-file, or listen on 127.0.0.1",
        )
    import uvicorn

    import edgeinfer
    from edgeinfer.server.app import make_app
    from edgeinfer.server.guard import Rules
    from edgeinfer.server.models import Models

    with ExitStack() as stack:
        listener = stack.enter_context(_listen(host, port))
        loading = take_model(options)
        opened = [stack.enter_context(edgeinfer.load(name, **loading)) for name in models or (None,)]
        app = make_app(Models(opened), Rules((*allow_host, host), allow_origin, api_key))
        config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=2)
        names = ", ".join(model.name for model in opened)
        output.talk(f"{names} on http://{host}:{listener.getsockname()[1]}/v1, Ctrl-C ends")
        uvicorn.Server(config).run(sockets=[listener])


def _key(file: Path | None) -> str | None:
    """Not from an argument: those can be read by everybody on the machine."""
    if file is None:
        return os.environ.get("EDGEINFER_API_KEY")
    try:
        key = file.read_text().strip()
    except OSError as error:
        raise DiskError(f"cannot read {file}: {error.strerror}") from error
    if not key:
        raise InvalidRequest(f"{file} is empty", hint="write a key into it")
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise PortTaken(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="give another --port; 0 finds a free one",
        ) from error
    return listener
