"""`edgeinfer rm`: forget a model."""

from __future__ import annotations

import click

from edgeinfer.cli import output
from edgeinfer.errors import InvalidRequest
from edgeinfer.text.safe import safe_text


@click.command("rm", short_help="Remove models that edgeinfer keeps.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per name.")
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Remove models from the Hugging Face cache, our copies, and aliases; tell what that frees.

    An alias goes, the model stays. What other programs keep is theirs to remove.
    """
    from edgeinfer.hub.names import find_local
    from edgeinfer.hub.store import huggingface, own

    removers = {"edgeinfer": own.remove, "huggingface": huggingface.remove}
    for name in names:
        model = find_local(name)
        if model.store not in removers:
            raise InvalidRequest(f"{model.name} belongs to {model.store}", hint="remove it there")
        freed = removers[model.store](model)
        if as_json:
            output.as_json({"name": model.name, "path": str(model.path), "freed_bytes": freed})
        else:
            output.data(safe_text(f"removed {model.name}, {output.in_bytes(freed)} freed"))
