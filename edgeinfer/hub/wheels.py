"""The wheels that install this edgeinfer, gathered by pip from where it can reach them."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import edgeinfer
from edgeinfer.errors import NetworkError
from edgeinfer.hub.offline import refuse_if_offline


def gather_wheels(folder: Path) -> list[Path]:
    """Put them there, for this Python on this kind of machine: edgeinfer, and all that it needs.

    Raises:
        Offline.
        NetworkError: pip cannot get or build one.
    """
    refuse_if_offline("a wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), _ourselves()],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or ["it says nothing"]
        raise NetworkError(
            f"pip cannot gather the wheels: {said[-1].removeprefix('ERROR: '):.300}",
            hint="look at `pip config list`, or make the bundle where the package index can be reached",
        )
    return sorted(folder.glob("*.whl"))


def _ourselves() -> str:
    """What pip is to install: what this edgeinfer was installed from (PEP 610), else its version."""
    origin = importlib.metadata.distribution("edgeinfer").read_text("direct_url.json")
    url = json.loads(origin)["url"] if origin else ""
    if url.startswith("file://"):
        return unquote(urlsplit(url).path)
    return f"edgeinfer=={edgeinfer.__version__}"
