"""`edgeinfer embed`: the vectors of texts."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from edgeinfer.cli import model_names, output
from edgeinfer.cli.options import model_options


@click.command("embed", short_help="Turn texts into vectors.")
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@model_names.option("An embedding model.", required=True)
@click.option("--dimensions", type=int, metavar="N", help="Keep the first N numbers of each vector.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document with all vectors.")
@model_options
def command(
    texts: tuple[str, ...], model: str, dimensions: int | None, as_json: bool, **loading: Any
) -> None:
    """Print the vector of each TEXT, or of each line of standard input, as a JSON array on a line.

    Vectors have length 1, so that the product of two says how near their texts are.
    """
    import edgeinfer

    asked = list(texts) or sys.stdin.buffer.read().decode("utf-8", "replace").splitlines()
    with edgeinfer.load(model, **loading) as loaded:
        vectors = loaded.embed(asked, dimensions=dimensions)
        if as_json:
            output.as_json({"model": loaded.name, "embeddings": vectors.tolist()})
        else:
            for vector in vectors:
                output.data(json.dumps(vector.tolist()))
