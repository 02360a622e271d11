"""`edgeinfer create`: a model with a system message, parameters and so on, from a Modelfile."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edgeinfer.cli import output
from edgeinfer.errors import DiskError, NotFound
from edgeinfer.text.safe import safe_text


@click.command("create", short_help="Give a model a system message, parameters and a name.")
@click.argument("name")
@click.option(
    "-f",
    "--file",
    type=click.Path(allow_dash=True),
    default="Modelfile",
    metavar="FILE",
    help="-: standard input.  [Modelfile]",
)
def command(name: str, file: str) -> None:
    """Let NAME be the model that a Modelfile describes.

    \b
    FROM qwen3:4b
    PARAMETER temperature 0.2
    SYSTEM You answer in one sentence.
    MESSAGE user Is the sky blue?
    MESSAGE assistant Yes.

    The format is Ollama's. FROM names a model of `edgeinfer list` or the path of a GGUF file, PARAMETER also
    num_ctx, num_predict, stop, seed and so on. Every conversation begins with the MESSAGEs. TEMPLATE is in
    Jinja; without one that of the file is used. LICENSE is shown. A text of several lines stands between
    \""" and \""".

    The weights are linked, not copied. The same command again replaces the model.
    """
    from edgeinfer.hub.create import create, named_by
    from edgeinfer.hub.modelfile import parse

    folder = Path() if file == "-" else Path(file).parent
    modelfile = parse(_read(file), "standard input" if file == "-" else file)
    created = create(name, modelfile, named_by(modelfile.base, folder))
    for remark in created.remarks:
        output.talk(remark)
    output.data(safe_text(f"{name} is created from {created.path}"))


def _read(file: str) -> bytes:
    """No more of it than would be read of a Modelfile."""
    from edgeinfer.hub.modelfile import MOST_BYTES

    if file == "-":
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    try:
        with Path(file).open("rb") as opened:
            return opened.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}", hint="-f names the Modelfile") from None
    except (OSError, ValueError) as error:
        raise DiskError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
