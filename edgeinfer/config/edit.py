"""Changes of `config.toml`, which leave its comments and its order as they are."""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from edgeinfer.config.file import parse, read_text
from edgeinfer.config.table import SECTIONS, Value
from edgeinfer.disk import changing, replace_file
from edgeinfer.errors import DiskError, InvalidRequest

_WAIT_S = 10  # for another process that changes it

Tables = MutableMapping[str, Any]


def set_in_file(path: Path, name: str, value: Value) -> None:
    """Give a setting this value; the file is made if it is not there.

    Raises:
        InvalidRequest: the file is no TOML, or has a value where the section should be; it is left as it is.
        DiskError: it cannot be read or written.
    """

    def change(tables: Tables) -> None:
        section, key = _place(name)
        table = tables.setdefault(section, {}) if section else tables
        if not isinstance(table, MutableMapping):
            raise InvalidRequest(f"{path}: {section} is no table", hint=f"`edgeinfer config unset {section}`")
        table[key] = list(value) if isinstance(value, tuple) else value

    _edit(path, change)


def unset_in_file(path: Path, name: str) -> None:
    """Take a name out of the file, also one that is no setting. Raises like `set_in_file`."""

    def change(tables: Tables) -> None:
        section, key = _place(name)
        table = tables.get(section, {}) if section else tables
        if not isinstance(table, MutableMapping) or key not in table:
            raise InvalidRequest(f"{path} does not set {name}")
        del table[key]

    _edit(path, change)


def _place(name: str) -> tuple[str, str]:
    """The section, or "", and the key in it."""
    section, _, key = name.partition(".")
    return (section, key) if section in SECTIONS and key else ("", name)


def _edit(path: Path, change: Callable[[Tables], None]) -> None:
    """Under a lock, for two changes at once are both wanted."""
    from filelock import FileLock

    place = Path(os.path.realpath(path))  # of a link the file it leads to, of a loop a link
    if os.path.lexists(place) and not place.is_file():
        raise DiskError(f"{path} is no file")  # /dev/null is read, and must never be replaced
    with changing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f".{place.name}.lock"), timeout=_WAIT_S):
            text = read_text(place)
            wanted = parse(text, path)
            change(wanted)
            fresh = _changed(text, change)
            if fresh is None or parse(fresh, path) != wanted:
                raise InvalidRequest(f"{path} is written in a way that only an editor can change")
            replace_file(place, fresh.encode())


def _changed(text: str, change: Callable[[Tables], None]) -> str | None:
    """The text of the file afterwards; None: tomlkit does not know what tomllib knows."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        change(document)
        return tomlkit.dumps(document)
    except (TOMLKitError, RecursionError):
        return None
