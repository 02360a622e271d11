"""What a bundle says is in it. It comes from strangers: names become paths only by rules of ours."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import edgeinfer
from edgeinfer.errors import IntegrityError, InvalidRequest
from edgeinfer.hub.modelfile import Modelfile, parse
from edgeinfer.hub.store import own

MOST_BYTES = 4 << 20  # of a manifest; licences are long
MODEL_FILE = re.compile(r"[A-Za-z0-9][\w.+-]{0,70}\.gguf", re.ASCII)
_WHEEL_FILE = re.compile(r"[A-Za-z0-9][\w.+-]{0,94}\.whl", re.ASCII)
_MACHINE = re.compile(r"\w{1,20} \w{1,20}, Python 3\.[0-9]{1,3}", re.ASCII)
_FORMAT = "edgeinfer bundle 1"

_INSTALL = """\
# Installs what is in this bundle, edgeinfer too, without a network: `tar -xOf FILE install.sh | sh -s FILE`
{
set -eu
bundle=$1 folder=${2:-edgeinfer} python=${PYTHON:-python3}
here="$(uname -sm), Python $("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
if [ "$here" != "MACHINE" ]; then
    echo "error: this bundle is for MACHINE; here is $here" >&2
    echo "hint: PYTHON=/path/of/another/python3 before sh takes that one" >&2
    exit 1
fi
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
tar -xf "$bundle" -C "$wheels" wheels
"$python" -m venv "$folder"
"$folder/bin/pip" install --quiet --no-index --find-links "$wheels/wheels" edgeinfer
"$folder/bin/edgeinfer" bundle install "$bundle"
echo "$folder/bin/edgeinfer list    # what is here now"
exit
}
"""


def this_machine() -> str:
    """The kind of machine that wheels gathered here are for, as install.sh looks at it."""
    python = sys.version_info
    return f"{platform.system()} {platform.machine()}, Python {python.major}.{python.minor}"


@dataclass(frozen=True)
class Entry:
    """A file in a bundle."""

    file: str  # its name, without folders
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class BundledModel:
    """A model in a bundle."""

    name: str
    files: tuple[Entry, ...]  # its shards in order

    @property
    def key(self) -> str:
        """Equal only for the same files."""
        return hashlib.sha256("".join(entry.sha256 for entry in self.files).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class CreatedModel:
    """A model of a Modelfile, whose FROM is the name of a model of the same bundle."""

    name: str
    modelfile: str

    def read(self) -> Modelfile:
        """Raises InvalidRequest."""
        return parse(self.modelfile.encode(), self.name)


@dataclass(frozen=True)
class Contents:
    """What a bundle says is in it."""

    models: tuple[BundledModel, ...]
    wheels: tuple[Entry, ...] = ()
    created: tuple[CreatedModel, ...] = ()
    machine: str = field(default_factory=this_machine)  # that the wheels are for
    edgeinfer: str = edgeinfer.__version__  # that made it

    def members(self) -> Iterator[tuple[str, Entry]]:
        """(name in the tar, file) of all that was copied into it, in order."""
        for wheel in self.wheels:
            yield f"wheels/{wheel.file}", wheel
        for i, model in enumerate(self.models):
            for entry in model.files:
                yield f"models/{i}/{entry.file}", entry

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(entry.size_bytes for _, entry in self.members())

    @property
    def install_script(self) -> bytes:
        """Of a bundle with wheels: for a machine that has only a shell, tar and Python. Else empty."""
        return _INSTALL.replace("MACHINE", self.machine).encode() if self.wheels else b""

    def as_json(self) -> bytes:
        """The manifest."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1).encode() + b"\n"


def read_manifest(data: bytes) -> Contents:
    """The other way round. Raises IntegrityError."""
    try:
        read = json.loads(data)
        if read["format"] != _FORMAT:
            raise IntegrityError(
                f"this bundle is of another kind, {read['format']!r:.40}", hint="install a newer edgeinfer"
            )
        contents = Contents(
            tuple(_model(row) for row in read["models"]),
            tuple(_entry(row, _WHEEL_FILE) for row in read["wheels"]),
            tuple(CreatedModel(row["name"], row["modelfile"]) for row in read["created"]),
            read["machine"],
            str(read["edgeinfer"]),
        )
        _check(contents)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, InvalidRequest) as error:
        raise damaged(f"its manifest cannot be read: {error!r:.80}") from error
    return contents


def damaged(what: str) -> IntegrityError:
    """It is not as `create` writes it."""
    return IntegrityError(f"this is no bundle, or a damaged one: {what}", hint="copy it again")


def _model(row: Any) -> BundledModel:
    model = BundledModel(row["name"], tuple(_entry(file, MODEL_FILE) for file in row["files"]))
    if not model.files:
        raise ValueError(model.name)
    return model


def _entry(row: Any, allowed: re.Pattern[str]) -> Entry:
    entry = Entry(row["file"], row["size_bytes"], row["sha256"])
    if not allowed.fullmatch(entry.file) or not re.fullmatch(r"[0-9a-f]{64}", entry.sha256):
        raise ValueError(entry.file)
    if type(entry.size_bytes) is not int or not 0 < entry.size_bytes < 1 << 62:
        raise ValueError(entry.size_bytes)
    return entry


def _check(contents: Contents) -> None:
    """Names are names, and none is there twice: some file systems tell no large letters from small ones."""
    if not _MACHINE.fullmatch(contents.machine):
        raise ValueError(contents.machine)
    called = [*(model.name for model in contents.models), *(created.name for created in contents.created)]
    for name in called:
        own.require_name(name)
    for created in contents.created:
        if created.read().base not in (model.name for model in contents.models):
            raise ValueError(created.name)
    for names in (called, [name for name, _ in contents.members()]):
        if len({name.lower() for name in names}) < len(names):
            raise ValueError("two of its files or models have one name")
