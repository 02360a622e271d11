"""The wheels that install this edgeinfer: its own, made of what is installed, and others that pip gathers."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgeinfer.errors import NetworkError
from edgeinfer.hub.offline import refuse_if_offline

_OF_THIS_MACHINE = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}  # what pip adds, and what it will


def gather_wheels(folder: Path) -> list[Path]:
    """Put them there, for this Python on this kind of machine: edgeinfer, and all that it needs.

    Raises:
        Offline.
        NetworkError: pip cannot get or build one.
    """
    refuse_if_offline("a wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(_source() or _packed(folder))],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        said = done.stderr.splitlines() or ["it says nothing"]
        problem = [line for line in said if line.startswith("ERROR:")] or said
        hint = "look at `pip config list`, or make the bundle where the package index can be reached"
        if "No module named pip" in problem[-1]:
            hint = f"`{sys.executable} -m ensurepip` installs it"
        told = f"pip cannot gather the wheels: {problem[-1].removeprefix('ERROR: '):.300}"
        raise NetworkError(told, hint=hint)
    return sorted(folder.glob("*.whl"))


def _source() -> Path | None:
    """The folder that this runs from, if it was installed to be worked on (PEP 610)."""
    origin = json.loads(importlib.metadata.distribution("edgeinfer").read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(origin["url"]).path))


def _packed(folder: Path) -> Path:
    """The wheel that was installed, once more: neither its source nor a compiler need be here."""
    installed = importlib.metadata.distribution("edgeinfer")
    info = f"edgeinfer-{installed.version}.dist-info"
    path = folder / f"edgeinfer-{installed.version}-{_tag(installed)}.whl"
    rows = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in installed.files or ():
            made_here = ".." in file.parts or file.suffix == ".pyc"  # commands and compiled files
            if made_here or (file.parts[0] == info and file.name in _OF_THIS_MACHINE):
                continue
            data = file.read_binary()
            wheel.writestr(file.as_posix(), data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            rows.append(f"{file.as_posix()},sha256={digest},{len(data)}\n")
        wheel.writestr(f"{info}/RECORD", "".join(rows) + f"{info}/RECORD,,\n")
    return path


def _tag(installed: importlib.metadata.Distribution) -> str:
    """For which Pythons and machines: each part of a wheel's name may list several (PEP 425)."""
    lines = (installed.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ").split("-") for line in lines if line.startswith("Tag: ")]
    return "-".join(".".join(sorted(set(parts))) for parts in zip(*tags, strict=True))
