"""`edgeinfer serve`: a port for editors and agents."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinfer.address import is_loopback, unix_path
from edgeinfer.cli import model_names, output
from edgeinfer.cli.options import Command, chosen_model, model_options, setting_option, take_model
from edgeinfer.config.sources import read_settings
from edgeinfer.config.table import SETTINGS, Serve
from edgeinfer.durations import seconds_of
from edgeinfer.errors import InvalidRequest
from edgeinfer.hub.names import BUNDLED, locate
from edgeinfer.hub.offline import forbid_sockets
from edgeinfer.keys import given_keys
from edgeinfer.server.listener import listening

if TYPE_CHECKING:
    import socket

    from edgeinfer.keys import Key
    from edgeinfer.server.entry import Entry
    from edgeinfer.server.guard import Rules
    from edgeinfer.server.models import Models
    from edgeinfer.server.port import Port, Tls


_OPTIONS = tuple(name for name in SETTINGS if name.startswith("serve."))


def _serve_options(command: Command) -> Command:
    """One for each setting of [serve]."""
    for name in reversed(_OPTIONS):
        command = setting_option(name)(command)
    return command


@click.command("serve", short_help="Answer editors and agents on a port.")
@model_names.argument("models", nargs=-1, metavar="[MODEL]...")
@_serve_options
@model_options
def command(models: tuple[str, ...], **options: Any) -> None:
    """Serve MODELs, files or names; without any the one that `edgeinfer config` sets, or the
    bundled edgeinfer-tiny.

    The first answers who names none. All other models on this machine are opened when a request names them,
    and those not used for longest are closed when memory is short. Options hold for all of them.

    Only programs on this machine are answered, no web pages. To listen elsewhere needs an API key.

    \b
    edgeinfer serve model.gguf
    curl localhost:8080/v1/chat/completions -d '{"messages": [{"role": "user", "content": "Hi"}]}'
    """
    loading = take_model(options)
    settings = read_settings({f"serve.{name}": value for name, value in options.items()})
    serve = settings.serve
    keys, tls = given_keys(serve.api_key_file), _tls(serve)
    if not keys and not _is_private(serve.host):
        raise InvalidRequest(
            f"{serve.host} can be reached from other machines: that needs an API key",
            hint="give --api-key-file, or listen on 127.0.0.1",
        )
    import asyncio

    import edgeinfer
    from edgeinfer.loading import plan
    from edgeinfer.server import access_log
    from edgeinfer.server.app import Limits, make_app
    from edgeinfer.server.metrics import Targets
    from edgeinfer.server.models import Models, Terms
    from edgeinfer.server.pool import Pool
    from edgeinfer.server.port import Port

    named = [_named(name) for name in models or (chosen_model(None) or BUNDLED[0],)]
    pool = Pool(partial(edgeinfer.load, **loading), partial(plan, **loading), most_open=serve.max_models)
    with (
        access_log.written(serve.log_format, serve.log_level),
        listening(serve.host, serve.port) as listener,
        Models(named, pool, Terms(seconds_of(serve.keep_alive), serve.max_queue)) as served,
    ):
        limits = Limits(serve.request_timeout, Targets(serve.target_ttft, serve.target_tpot))
        app = make_app(served, _rules(serve, keys), limits)
        names = ", ".join(entry.name for entry in named)
        where = _where(serve.host, listener, "http" if tls is None else "https")
        output.talk(f"{names} on {where}, Ctrl-C ends")
        if settings.offline:
            forbid_sockets()
        asyncio.run(_serve(Port(app, drain_s=serve.drain_seconds, tls=tls), listener, served))


def _rules(serve: Serve, keys: list[Key]) -> Rules:
    from edgeinfer.server.guard import Rules

    origins = [origin.lower().removesuffix("/") for origin in serve.cors_origins]
    return Rules((*serve.allow_host, serve.host), _is_any(serve.host), origins, keys)


def _tls(serve: Serve) -> Tls | None:
    """Raises InvalidRequest: a file is not there."""
    if serve.ssl_certfile is None:
        return None
    from edgeinfer.server.port import Tls

    files = [Path(name).expanduser() for name in (serve.ssl_certfile, serve.ssl_keyfile) if name is not None]
    for file in files:
        if not file.is_file():
            raise InvalidRequest(f"there is no file {file}")
    return Tls(*files)


async def _serve(server: Port, listener: socket.socket, models: Models) -> None:
    """Answer at once, while the models that were named are opened. Raises what one of them raises."""
    import asyncio

    def opened(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            server.stop()

    opening = asyncio.ensure_future(models.open_named())
    opening.add_done_callback(opened)
    await server.serve(sockets=[listener])
    if opening.done():
        opening.result()
    opening.cancel()


def _where(host: str, listener: socket.socket, scheme: str) -> str:
    path = unix_path(host)
    return f"{scheme}://{host}:{listener.getsockname()[1]}/v1" if path is None else f"unix:{path}"


def _named(model: str) -> Entry:
    """What a command line names: a file is called as its name is, all else as it was called."""
    from edgeinfer.server.entry import Entry

    found = locate(model)
    return Entry(found.name if Path(model).is_file() else model, found)


def _is_private(host: str) -> bool:
    """Whether no other machine reaches it."""
    return unix_path(host) is not None or is_loopback(host)


def _is_any(host: str) -> bool:
    """Whether it stands for all addresses of the machine, which nobody can list."""
    return host in ("0.0.0.0", "::")
