"""`edgeinfer perplexity`: how well a model predicts a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeinfer.cli import model_names, output
from edgeinfer.cli.options import model_options
from edgeinfer.errors import DiskError, NotFound


@click.command("perplexity", short_help="Measure how well a model predicts a text.")
@click.argument("file", type=click.Path(path_type=Path))
@model_names.option("Which model; default: edgeinfer-tiny.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@model_options
def command(file: Path, model: str | None, as_json: bool, **loading: Any) -> None:
    """Print the perplexity of the text in FILE: exp of the mean surprise per token, lower is better.

    A text longer than the context is read in windows that do not overlap, with --kv-window as a whole.
    """
    import edgeinfer

    text = _text_of(file)
    with edgeinfer.load(model, **loading) as loaded:
        n_tokens, value = len(loaded.tokenizer.encode(text)), loaded.perplexity(text)
        if as_json:
            output.as_json({"model": loaded.name, "tokens": n_tokens, "perplexity": value})
        else:
            output.data(f"{value:.4f}")
            window = min(n_tokens, loaded.context_length)
            output.talk(f"{loaded.name}, {n_tokens} tokens, at most {window} at a time")


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}", hint="give the path of a text file") from None
    except OSError as error:
        raise DiskError(f"cannot read {file}: {error.strerror}") from error
