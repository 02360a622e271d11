"""Models that `edgeinfer create` made: a Modelfile each, whose FROM is the path of a file anywhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from edgeinfer.disk import replace_file
from edgeinfer.errors import EdgeInferError
from edgeinfer.hub import folders
from edgeinfer.hub.modelfile import MOST_BYTES, BadModelfile, Modelfile, parse

_ENDING = ".modelfile"


def all_in(folder: Path) -> Iterator[tuple[str, Modelfile]]:
    """(name, what it was created with); none that somebody has damaged."""
    for path in folders.inside(folder, f"*{_ENDING}"):
        with contextlib.suppress(EdgeInferError, OSError):
            yield unquote(path.name.removesuffix(_ENDING)), _read(path)


def one_in(folder: Path, name: str) -> Modelfile | None:
    """What the model of this name was created with, if there is one. Raises BadModelfile."""
    try:
        return _read(place_of(folder, name))
    except OSError:
        return None


def write(folder: Path, name: str, modelfile: Modelfile) -> None:
    """Keep it in the place of what was called so; a power cut leaves the one or the other.

    Raises:
        BadModelfile, DiskError, OSError.
    """
    try:
        data = str(modelfile).encode()
    except UnicodeEncodeError:
        raise BadModelfile(f"{modelfile.base!r}, or another text, is not Unicode") from None
    if len(data) > MOST_BYTES:
        raise BadModelfile(f"with what it builds on it has more than {MOST_BYTES >> 20} MiB")
    parse(data, f"{name}, with what it builds on,")  # what cannot be read again is not kept
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(place_of(folder, name), data)


def place_of(folder: Path, name: str) -> Path:
    """Its file."""
    return folder / f"{quote(name, safe='')}{_ENDING}"


def _read(path: Path) -> Modelfile:
    with path.open("rb") as file:
        return parse(file.read(MOST_BYTES + 1), str(path))
