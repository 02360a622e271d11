"""`edgeinfer import`: call a file by a name."""

from __future__ import annotations

import re
from pathlib import Path

import click

from edgeinfer.cli import output
from edgeinfer.errors import NotFound
from edgeinfer.text.safe import safe_text


@click.command("import", short_help="Call a model file by a name, without copying it.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Its name; default: that of the file.")
@click.option("--copy", is_flag=True, help="Keep a copy, for a file that will go away.")
def command(path: Path, name: str | None, copy: bool) -> None:
    """Let a name stand for the GGUF file PATH, or for the shards that it is the first of.

    The file stays where it is and is linked; with --copy it is copied.
    """
    from edgeinfer import _native
    from edgeinfer.hub.store import own

    if not path.is_file():
        raise NotFound(f"no file is called {str(path)!r}", hint="give the path of a .gguf file")
    path = path.absolute()
    _native.gguf_open(str(path))
    name = name or re.sub(r"-\d{5}-of-\d{5}$", "", path.name.removesuffix(".gguf"))
    kept = own.copy(name, own.shards(path)) if copy else own.link(name, path)
    output.data(safe_text(f"{name} is {kept if copy else path}"))
