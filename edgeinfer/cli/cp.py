"""`edgeinfer cp`: call a model by one more name."""

from __future__ import annotations

import click

from edgeinfer.cli import model_names, output
from edgeinfer.text.safe import safe_text


@click.command("cp", short_help="Call a model by one more name.")
@model_names.argument("source")
@click.argument("name")
def command(source: str, name: str) -> None:
    """Let NAME be another name of the model SOURCE. Weights are not copied.

    \b
    edgeinfer cp qwen3:4b my-model
    """
    from edgeinfer.hub.create import alias
    from edgeinfer.hub.names import locate

    found = locate(source)
    alias(name, found)
    output.data(safe_text(f"{name} is {found.path.absolute()}"))
