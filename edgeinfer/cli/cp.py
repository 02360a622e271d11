"""`edgeinfer cp`: call a model by one more name."""

from __future__ import annotations

import click

from edgeinfer.cli import output
from edgeinfer.text.safe import safe_text


@click.command("cp", short_help="Call a model by one more name.")
@click.argument("source")
@click.argument("name")
def command(source: str, name: str) -> None:
    """Let NAME be another name of the model SOURCE. Weights are not copied.

    \b
    edgeinfer cp qwen3:4b my-model
    """
    from edgeinfer.hub.names import locate
    from edgeinfer.hub.store import own

    found = locate(source)
    path = found.path.absolute()
    if found.modelfile is None:
        own.link(name, path)
    else:
        own.create(name, found.modelfile, replaces=False)
    output.data(safe_text(f"{name} is {path}"))
