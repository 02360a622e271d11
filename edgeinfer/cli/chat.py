"""`edgeinfer chat`: a conversation on the whole terminal."""

from __future__ import annotations

import os
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edgeinfer.address import Address
from edgeinfer.cli import model_names, output
from edgeinfer.cli.options import (
    MODEL_OPTIONS,
    chosen_model,
    model_options,
    sampling_options,
    take_generation,
    take_model,
    thinking_options,
)
from edgeinfer.cli.running import first_key, own_address
from edgeinfer.config.sources import read_settings
from edgeinfer.errors import DiskError, InvalidRequest, Offline
from edgeinfer.keys import given_keys

if TYPE_CHECKING:
    from edgeinfer.chat_model import ChatModel
    from edgeinfer.sessions.store import SessionStore
    from edgeinfer.tui.attached import AttachedServer
    from edgeinfer.tui.source import Source, ThisProcess


@click.command("chat", short_help="Talk with a model.")
@model_names.argument("model", required=False)
@click.option("--system", metavar="TEXT", help="What the model should know and be.")
@click.option("-C", "--continue", "go_on", is_flag=True, help="Go on with the last session.")
@click.option(
    "--connect",
    is_flag=False,
    flag_value="",
    metavar="[ADDRESS]",
    help="Let a running `edgeinfer serve` answer; without an ADDRESS that of this machine.",
)
@click.option(
    "--api-key-file", metavar="FILE", help="Show the server the first key of it, or EDGEINFER_API_KEY."
)
@click.option("--plain", is_flag=True, help="Line by line, as in pipes and on dumb terminals.")
@click.option("-v", "--verbose", is_flag=True, help="With --plain: tell speeds after every answer.")
@thinking_options
@sampling_options
@model_options
def command(
    model: str | None,
    system: str | None,
    go_on: bool,
    connect: str | None,
    api_key_file: str | None,
    plain: bool,
    verbose: bool,
    think: bool | None,
    hide_thinking: bool,
    **options: Any,
) -> None:
    """Talk with MODEL, else with the one that `edgeinfer config` sets, or the bundled edgeinfer-tiny.
    With --connect MODEL is one of the server, without it the first one.

    F1 tells what there is to press and to type. What is said is kept: F2 shows earlier sessions.
    """
    loading, generation = take_model(options), take_generation(options)
    server = None if connect is None else _server(connect, api_key_file)
    if server is None and api_key_file is not None:
        raise InvalidRequest("--api-key-file is for a server", hint="give --connect too")
    alone = server is None and read_settings().offline  # nobody else is asked for anything
    if alone:
        from edgeinfer.hub.offline import forbid_sockets

        forbid_sockets()
    if plain or not _has_screen():
        from edgeinfer.cli.repl import loaded_to_talk, talk_with

        told: dict[str, Any] = {"system": system, "verbose": verbose}
        opened = loaded_to_talk(chosen_model(model), loading) if server is None else _opened(server, model)
        with closing(opened):
            talk_with(opened, generation, think=think, hide_thinking=hide_thinking, **told)
    else:
        source = _this_process(loading) if server is None else server
        nearby = None if alone or server is not None else _nearby()
        _open_screen(
            source,
            nearby,
            model,
            generation,
            think=think,
            system=_as_text(system or ""),
            go_on=go_on,
        )


def _server(connect: str, api_key_file: str | None) -> AttachedServer:
    """Raises InvalidRequest: that is no address, or something is asked that the server decides."""
    from edgeinfer.hub.names import looks_like_model
    from edgeinfer.tui.attached import AttachedServer

    where_from = click.get_current_context().get_parameter_source
    given = [
        f"--{name.replace('_', '-')}"
        for name in MODEL_OPTIONS
        if where_from(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise InvalidRequest(
            f"with --connect the server decides {', '.join(given)}", hint="give that to `edgeinfer serve`"
        )
    if looks_like_model(connect):
        hint = f"the model comes first: edgeinfer chat {connect} --connect"
        raise InvalidRequest(f"{connect} is a model, no address of a server", hint=hint)
    address = Address.read(connect) if connect else own_address()
    if read_settings().offline and not address.is_here:
        raise Offline(f"offline: {address} is another machine", hint="leave out --offline, EDGEINFER_OFFLINE")
    return AttachedServer(address, first_key(given_keys(api_key_file)))


def _nearby() -> AttachedServer | None:
    """That of this machine, which may run."""
    from edgeinfer.tui.attached import AttachedServer

    with suppress(InvalidRequest):  # of settings that only `serve` needs to be right
        return AttachedServer(own_address(), os.environ.get("EDGEINFER_API_KEY"))
    return None


def _opened(server: AttachedServer, name: str | None) -> ChatModel:
    import asyncio

    return asyncio.run(server.open(name))


def _this_process(loading: dict[str, Any]) -> ThisProcess:
    import edgeinfer
    from edgeinfer.tui.source import ThisProcess

    return ThisProcess(lambda name: edgeinfer.load(name, **loading))


def _has_screen() -> bool:
    terminals = all(output.is_terminal(stream) for stream in (sys.stdin, sys.stdout))
    return terminals and os.environ.get("TERM", "dumb") != "dumb"


def _open_screen(
    source: Source,
    nearby: AttachedServer | None,
    name: str | None,
    generation: dict[str, Any],
    *,
    think: bool | None,
    system: str,
    go_on: bool,
) -> None:
    from edgeinfer.tui.app import ChatApp
    from edgeinfer.tui.keyboard import take_any_bytes

    take_any_bytes()
    if name is not None and _as_text(name) != name:  # a session keeps it
        raise InvalidRequest("the name of this file is no UTF-8", hint="`edgeinfer import` gives it another")
    if name is not None and Path(name).is_file():
        name = str(Path(name).resolve())  # a session is gone on with from any folder
    with _open_store() as store:
        last = next(iter(store.sessions()), None) if go_on else None
        if last is not None and name is None:
            name = last.model
        if not source.where:
            name = chosen_model(name)
        app = ChatApp(
            store,
            source,
            name,
            generation=generation,
            think=think,
            system=system,
            session=None if last is None else last.id,
            nearby=nearby,
        )
        app.run()
        app.close_model()
    if app.bug is not None:
        raise app.bug
    if app.return_code:
        sys.exit(app.return_code)


def _as_text(argument: str) -> str:
    """Bytes that are no UTF-8 come in arguments as lone surrogates, which can be neither stored nor shown."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _open_store() -> SessionStore:
    from edgeinfer.paths import data_folder
    from edgeinfer.sessions.store import SessionStore

    try:
        return SessionStore(data_folder() / "sessions.db")
    except DiskError as error:
        return SessionStore.in_memory(error)
