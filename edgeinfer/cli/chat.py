"""`edgeinfer chat`: a conversation, line by line."""

from __future__ import annotations

from typing import Any

import click

from edgeinfer.cli.options import (
    model_options,
    sampling_options,
    take_generation,
    take_model,
    thinking_options,
)


@click.command("chat", short_help="Talk with a model.")
@click.argument("model", required=False)
@click.option("--system", metavar="TEXT", help="What the model should know and be.")
@click.option("-v", "--verbose", is_flag=True, help="Tell speeds after every answer.")
@thinking_options
@sampling_options
@model_options
def command(model: str | None, **options: Any) -> None:
    """Talk with MODEL, or with the bundled edgeinfer-tiny.

    Type /help in the conversation for its commands. Ctrl-C stops an answer, Ctrl-D or /bye ends.
    """
    from edgeinfer.cli.repl import talk_with

    loading, generation = take_model(options), take_generation(options)
    talk_with(model, loading, generation, **options)
