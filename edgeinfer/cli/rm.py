"""`edgeinfer rm`: forget a model."""

from __future__ import annotations

from pathlib import Path

import click

from edgeinfer.cli import model_names, output
from edgeinfer.errors import InvalidRequest
from edgeinfer.text.safe import safe_text


@click.command("rm", short_help="Remove models that edgeinfer keeps.")
@model_names.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per name.")
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Remove models from the Hugging Face cache, our copies, and aliases; tell what that frees.

    An alias goes, or a created model; the file that it stands for stays, and is not removed before them. What
    other programs keep is theirs to remove.
    """
    from edgeinfer.hub.names import find_local
    from edgeinfer.hub.store import huggingface, own

    removers = {"edgeinfer": own.remove, "huggingface": huggingface.remove}
    for name in names:
        if own.was_created(name) or own.is_dangling(name):
            _tell(name, own.forget(name), 0, as_json)
            continue
        model = find_local(name)
        if model.store not in removers:
            raise InvalidRequest(f"{model.name} belongs to {model.store}", hint="remove it there")
        own.require_unused(model)
        _tell(model.name, model.path, removers[model.store](model), as_json)


def _tell(name: str, path: Path, freed: int, as_json: bool) -> None:
    if as_json:
        output.as_json({"name": name, "path": str(path), "freed_bytes": freed})
    else:
        output.data(safe_text(f"removed {name}, {output.in_bytes(freed)} freed"))
