"""`config.toml`, where a person keeps settings: where it is, and what is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeinfer.config.table import SECTIONS
from edgeinfer.errors import DiskError, InvalidRequest
from edgeinfer.paths import config_folder

VARIABLE = "EDGEINFER_CONFIG"
_LARGEST = 1 << 16  # bytes; all settings take three thousand


def config_file() -> Path:
    """The one that EDGEINFER_CONFIG names, else the one in the system's place; it need not be there.

    Raises:
        DiskError: the user has no home.
    """
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser().absolute() if named else config_folder() / "config.toml"


def read_text(path: Path) -> str:
    """All of it; nothing if there is no such file, nor where we may not look, as in another user's home.

    Raises:
        DiskError: it cannot be read.
        InvalidRequest: it is too large, or no text.
    """
    if not os.path.exists(path):
        return ""
    if not path.is_file() and path != Path(os.devnull):
        raise DiskError(f"{path} is no file")  # of a pipe the second reader would get nothing
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise DiskError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise InvalidRequest(f"{path} is larger than {_LARGEST:,} bytes")
    try:
        return content.decode("utf-8-sig")  # editors of Windows put a mark in front
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path}: no UTF-8 from byte {error.start} on") from error


def parse(text: str, path: Path) -> dict[str, Any]:
    """The tables of a file with this text. Raises InvalidRequest: it is no TOML."""
    if not text:
        return {}
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest(
            f"{path} is no TOML: {problem[:1].lower()}{problem[1:]}", hint="repair it, or move it away"
        ) from None


def entries(tables: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """(name, value) of all; names in sections have the section before them, as "serve.port"."""
    for key, value in tables.items():
        if key in SECTIONS and isinstance(value, dict):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, value
