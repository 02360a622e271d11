"""`edgeinfer serve`: a port for editors and agents."""

from __future__ import annotations

import ipaddress
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from edgeinfer.cli import output
from edgeinfer.cli.options import model_options, take_model
from edgeinfer.errors import DiskError, InvalidRequest
from edgeinfer.hub.names import BUNDLED, locate
from edgeinfer.hub.offline import forbid_sockets
from edgeinfer.server.durations import seconds_of
from edgeinfer.server.listener import listening, unix_path
from edgeinfer.settings import Settings

if TYPE_CHECKING:
    import socket

    from edgeinfer.server.entry import Entry
    from edgeinfer.server.keys import Key
    from edgeinfer.server.models import Models
    from edgeinfer.server.port import Port


def _duration(context: click.Context, option: click.Parameter, text: str) -> float:
    try:
        return seconds_of(text)
    except ValueError as wrong:
        raise click.BadParameter(f"{text!r} {wrong}") from None


def _origins(context: click.Context, option: click.Parameter, text: str) -> list[str]:
    origins = [origin.strip().lower().removesuffix("/") for origin in text.split(",") if origin.strip()]
    for origin in origins:
        if "://" not in origin:
            raise click.BadParameter(f"{origin!r} is not the origin of a page, as https://example.org")
    return origins


_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_SECONDS = click.FloatRange(min=0, min_open=True)


@click.command("serve", short_help="Answer editors and agents on a port.")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where to listen; unix:PATH: on a Unix socket."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: a free one.")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Everybody must bring a key of it (one a line, a name may follow), or EDGEINFER_API_KEY.",
)
@click.option("--allow-host", multiple=True, metavar="NAME", help="Another name of this machine.")
@click.option(
    "--cors-origins",
    callback=_origins,
    default="",
    metavar="URL,...",
    help="Web pages that may ask, as https://example.org; none others may.",
)
@click.option(
    "--keep-alive",
    callback=_duration,
    default="30m",
    show_default=True,
    metavar="TIME",
    help="Close a model that no MODEL names so long after its last request; -1: never.",
)
@click.option("--max-models", type=click.IntRange(1), metavar="N", help="Open at most N models at once.")
@click.option(
    "--max-queue",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    metavar="N",
    help="Refuse requests while N wait for the same model.",
)
@click.option("--ssl-certfile", type=_FILE, metavar="FILE", help="Speak TLS with this certificate (PEM).")
@click.option("--ssl-keyfile", type=_FILE, metavar="FILE", help="Its key, if it is not in the same file.")
@click.option(
    "--request-timeout",
    type=_SECONDS,
    default=3600,
    show_default=True,
    metavar="SECONDS",
    help="Most that one request may take.",
)
@click.option(
    "--drain-seconds",
    type=click.IntRange(min=0),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="How long answers may go on after SIGTERM or Ctrl-C; a second one ends at once.",
)
@click.option(
    "--target-ttft", type=_SECONDS, metavar="SECONDS", help="First token of a good answer, in /metrics."
)
@click.option("--target-tpot", type=_SECONDS, metavar="SECONDS", help="Each token after it.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="info: one line a request, without what was said.",
)
@model_options
def command(
    models: tuple[str, ...],
    host: str,
    port: int,
    api_key_file: Path | None,
    allow_host: tuple[str, ...],
    cors_origins: list[str],
    keep_alive: float,
    max_models: int | None,
    max_queue: int,
    ssl_certfile: Path | None,
    ssl_keyfile: Path | None,
    request_timeout: float,
    drain_seconds: int,
    target_ttft: float | None,
    target_tpot: float | None,
    log_format: Literal["text", "json"],
    log_level: str,
    **options: Any,
) -> None:
    """Serve MODELs, files or names; without any the bundled edgeinfer-tiny.

    The first answers who names none. All other models on this machine are opened when a request names them,
    and those not used for longest are closed when memory is short. Options hold for all of them.

    Only programs on this machine are answered, no web pages. To listen elsewhere needs an API key.

    \b
    edgeinfer serve model.gguf
    curl localhost:8080/v1/chat/completions -d '{"messages": [{"role": "user", "content": "Hi"}]}'
    """
    keys = _keys(api_key_file)
    if not keys and not _is_private(host):
        raise InvalidRequest(
            f"{host} can be reached from other machines: that needs an API key",
            hint="give --api-key-file, or listen on 127.0.0.1",
        )
    import asyncio

    import edgeinfer
    from edgeinfer.loading import plan
    from edgeinfer.server import access_log
    from edgeinfer.server.app import Limits, make_app
    from edgeinfer.server.guard import Rules
    from edgeinfer.server.metrics import Targets
    from edgeinfer.server.models import Models, Terms
    from edgeinfer.server.pool import Pool
    from edgeinfer.server.port import Port, Tls

    loading = take_model(options)
    named = [_named(name) for name in models or (BUNDLED[0],)]
    pool = Pool(partial(edgeinfer.load, **loading), partial(plan, **loading), most_open=max_models)
    with (
        access_log.written(log_format, log_level),
        listening(host, port) as listener,
        Models(named, pool, Terms(keep_alive, max_queue)) as served,
    ):
        rules = Rules((*allow_host, host), _is_any(host), cors_origins, keys)
        limits = Limits(request_timeout, Targets(target_ttft, target_tpot))
        app = make_app(served, rules, limits)
        tls = None if ssl_certfile is None else Tls(ssl_certfile, ssl_keyfile)
        names = ", ".join(entry.name for entry in named)
        output.talk(f"{names} on {_where(host, listener, 'http' if tls is None else 'https')}, Ctrl-C ends")
        if Settings.from_environment().offline:
            forbid_sockets()
        asyncio.run(_serve(Port(app, drain_s=drain_seconds, tls=tls), listener, served))


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


def _keys(file: Path | None) -> list[Key]:
    """Not from an argument: those can be read by everybody on the machine."""
    from edgeinfer.server.keys import read_keys

    if file is None:
        key = os.environ.get("EDGEINFER_API_KEY")
        return [] if key is None else read_keys(key)
    try:
        return read_keys(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise DiskError(f"cannot read {file}: {error}") from error


def _is_private(host: str) -> bool:
    """Whether no other machine reaches it."""
    if unix_path(host) is not None:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_any(host: str) -> bool:
    """Whether it stands for all addresses of the machine, which nobody can list."""
    return host in ("0.0.0.0", "::")
