"""API keys: who may ask a server, and who shares with whom what was computed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from edgeinfer.errors import DiskError, InvalidRequest


@dataclass(frozen=True)
class Key:
    """One key. Those of the same name find what the others have computed."""

    secret: str
    name: str = ""

    @property
    def namespace(self) -> str:
        """The same after a restart; it tells nothing of the secret."""
        return self.name or hashlib.sha256(b"edgeinfer namespace " + self.secret.encode()).hexdigest()


def read_keys(text: str) -> list[Key]:
    """One key a line, with a name behind it or without; lines that begin with # say nothing.

    Raises InvalidRequest if there is none.
    """
    lines = (line.split(maxsplit=1) for line in text.splitlines() if not line.lstrip().startswith("#"))
    keys = [Key(words[0], words[1].strip() if len(words) > 1 else "") for words in lines if words]
    if not keys:
        raise InvalidRequest("there is no API key", hint="write one on a line of its own")
    return keys


def given_keys(file: str | None) -> list[Key]:
    """Those of a file; without one that in EDGEINFER_API_KEY, if there is one.

    Never from an argument: those can be read by everybody on the machine.

    Raises:
        DiskError, InvalidRequest: the file cannot be read, or has none.
    """
    if file is None:
        key = os.environ.get("EDGEINFER_API_KEY")
        return [] if key is None else read_keys(key)
    try:
        return read_keys(Path(file).expanduser().read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise DiskError(f"cannot read {file}: {error}") from error
