"""`edgeinfer bundle`: models, and edgeinfer itself, in one file for a machine without a network."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinfer.cli import model_names, output
from edgeinfer.cli.progress import bar_of
from edgeinfer.text.safe import safe_text

if TYPE_CHECKING:
    from edgeinfer.hub.manifest import Contents

_file = click.argument("file", type=click.Path(path_type=Path))
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("bundle", short_help="Carry models to a machine without a network, in one file.")
def command() -> None:
    """Carry models, and edgeinfer itself, to a machine without a network.

    \b
    edgeinfer bundle create qwen3:4b -o models.tar --with-wheels
    edgeinfer bundle verify models.tar
    edgeinfer bundle install models.tar

    A bundle is a plain tar. Where edgeinfer is not installed yet, this installs all of it into a folder:

    \b
    tar -xOf models.tar install.sh | sh -s models.tar
    """


@command.command("create", short_help="Write a bundle of models that are here.")
@model_names.argument("names", nargs=-1, metavar="NAME...")
@click.option("-o", "--output", "out", type=click.Path(path_type=Path), required=True, metavar="FILE")
@click.option("--with-wheels", is_flag=True, help="Add what installs edgeinfer itself; pip gathers it.")
@_json
def create(names: tuple[str, ...], out: Path, with_wheels: bool, as_json: bool) -> None:
    """Write the models NAME... of this machine to one file, with checksums of everything.

    The wheels of --with-wheels are for the same Python on the same kind of machine.
    """
    if not (names or with_wheels):
        raise click.UsageError("Missing argument 'NAME...'.")
    from edgeinfer.hub import bundle
    from edgeinfer.hub.wheels import gather_wheels

    planned = bundle.plan(names, out)
    with tempfile.TemporaryDirectory(prefix="edgeinfer-") as folder:
        if with_wheels:
            with output.Status() as status:
                status.show("pip gathers the wheels")
                planned = bundle.with_wheels(planned, gather_wheels(Path(folder)))
        with bar_of(str(out), planned.size_bytes) as report:
            contents = bundle.create(planned, report)
    _tell(out, contents, as_json)
    if not as_json:
        _tell_how_to_install(out, contents)


def _tell_how_to_install(out: Path, contents: Contents) -> None:
    file = shlex.quote(out.name)
    if not contents.wheels:
        output.talk(safe_text(f"there: edgeinfer bundle install {file}"))
        return
    output.talk(f"there ({contents.machine}): " + safe_text(f"tar -xOf {file} install.sh | sh -s {file}"))


@command.command("verify", short_help="Check all of a bundle, write nothing.")
@_file
@_json
def verify(file: Path, as_json: bool) -> None:
    """Read all of FILE and compare it with its checksums. Exits with 8 if anything is wrong."""
    from edgeinfer.hub import bundle

    opened = bundle.open_bundle(file)
    with bar_of(str(file), opened.contents.size_bytes) as report:
        bundle.verify(opened, report)
    _tell(file, opened.contents, as_json)


@command.command("install", short_help="Install the models of a bundle.")
@_file
@_json
def install(file: Path, as_json: bool) -> None:
    """Put the models of FILE where every command finds them by name. No network is touched.

    An installation that was interrupted goes on where it stopped; a model appears when all of it is here and
    its checksums are right.
    """
    from edgeinfer.hub import bundle

    opened = bundle.open_bundle(file)
    with bar_of(str(file), opened.contents.size_bytes) as report:
        bundle.install(opened, report)
    _tell(file, opened.contents, as_json)


def _tell(file: Path, contents: Contents, as_json: bool) -> None:
    models: list[dict[str, Any]] = [
        {"name": model.name, "bytes": sum(entry.size_bytes for entry in model.files)}
        for model in contents.models
    ]
    if as_json:
        wheels = [wheel.file for wheel in contents.wheels]
        created = [model.name for model in contents.created]
        told = {"path": str(file), "bytes": contents.size_bytes, "models": models, "created": created}
        output.as_json(told | {"wheels": wheels})
        return
    rows = [(model["name"], output.in_bytes(model["bytes"])) for model in models]
    rows += [(created.name, f"created from {created.read().base}") for created in contents.created]
    if contents.wheels:
        size = sum(wheel.size_bytes for wheel in contents.wheels)
        rows.append((f"{len(contents.wheels)} wheels", output.in_bytes(size)))
    output.table(rows, title=safe_text(str(file)))
