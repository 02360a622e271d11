"""`edgeinfer cp`: call a model by one more name."""

from __future__ import annotations

import click

from edgeinfer.cli import output
from edgeinfer.text.safe import safe_text


@click.command("cp", short_help="Call a model by one more name.")
@click.argument("source")
@click.argument("name")
def command(source: str, name: str) -> None:
    """Let NAME be another name of the model SOURCE. Nothing is copied.

    \b
    edgeinfer cp qwen3:4b my-model
    """
    from edgeinfer.hub.names import find_model
    from edgeinfer.hub.store import own

    path = find_model(source).absolute()
    own.link(name, path)
    output.data(safe_text(f"{name} is {path}"))
