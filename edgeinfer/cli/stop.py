"""`edgeinfer stop`: a server closes a model."""

from __future__ import annotations

import click

from edgeinfer.cli import model_names, output
from edgeinfer.cli.running import ask, server_option


@click.command("stop", short_help="Make a server close a model.")
@model_names.argument("model")
@server_option
def command(model: str, url: str | None) -> None:
    """Make a running `edgeinfer serve` close MODEL as soon as nobody uses it.

    The next request that names it opens it again.
    """
    ask(url, "/api/generate", {"model": model, "keep_alive": 0, "stream": False})
    output.talk(f"{model} is closed as soon as nobody uses it")
