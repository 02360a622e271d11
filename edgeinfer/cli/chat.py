"""`edgeinfer chat`: a conversation on the whole terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinfer.cli import model_names, output
from edgeinfer.cli.options import (
    chosen_model,
    model_options,
    sampling_options,
    take_generation,
    take_model,
    thinking_options,
)
from edgeinfer.errors import DiskError

if TYPE_CHECKING:
    from edgeinfer.sessions.store import SessionStore


@click.command("chat", short_help="Talk with a model.")
@model_names.argument("model", required=False)
@click.option("--system", metavar="TEXT", help="What the model should know and be.")
@click.option("-C", "--continue", "go_on", is_flag=True, help="Go on with the last session.")
@click.option("--plain", is_flag=True, help="Line by line, as in pipes and on dumb terminals.")
@click.option("-v", "--verbose", is_flag=True, help="With --plain: tell speeds after every answer.")
@thinking_options
@sampling_options
@model_options
def command(
    model: str | None,
    system: str | None,
    go_on: bool,
    plain: bool,
    verbose: bool,
    think: bool | None,
    hide_thinking: bool,
    **options: Any,
) -> None:
    """Talk with MODEL, else with the one that `edgeinfer config` sets, or the bundled edgeinfer-tiny.

    F1 tells what there is to press and to type. What is said is kept: F2 shows earlier sessions.
    """
    loading, generation = take_model(options), take_generation(options)
    if plain or not _has_screen():
        from edgeinfer.cli.repl import talk_with

        told: dict[str, Any] = {"system": system, "verbose": verbose}
        talk_with(chosen_model(model), loading, generation, think=think, hide_thinking=hide_thinking, **told)
    else:
        _open_screen(model, loading, generation, think=think, system=system or "", go_on=go_on)


def _has_screen() -> bool:
    terminals = all(output.is_terminal(stream) for stream in (sys.stdin, sys.stdout))
    return terminals and os.environ.get("TERM", "dumb") != "dumb"


def _open_screen(
    name: str | None,
    loading: dict[str, Any],
    generation: dict[str, Any],
    *,
    think: bool | None,
    system: str,
    go_on: bool,
) -> None:
    import edgeinfer
    from edgeinfer.tui.app import ChatApp

    if name is not None and Path(name).is_file():
        name = str(Path(name).resolve())  # a session is gone on with from any folder
    with _open_store() as store:
        last = next(iter(store.sessions()), None) if go_on else None
        if last is not None and name is None:
            name = last.model
        name = chosen_model(name)
        app = ChatApp(
            store,
            lambda wanted: edgeinfer.load(wanted, **loading),
            name,
            generation=generation,
            think=think,
            system=system,
            session=None if last is None else last.id,
        )
        app.run()
        app.close_model()
    if app.bug is not None:
        raise app.bug
    if app.return_code:
        sys.exit(app.return_code)


def _open_store() -> SessionStore:
    from edgeinfer.paths import data_folder
    from edgeinfer.sessions.store import SessionStore

    try:
        return SessionStore(data_folder() / "sessions.db")
    except DiskError as error:
        return SessionStore.in_memory(error)
