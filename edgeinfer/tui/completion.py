"""How what is being written may go on: commands, what comes behind them, and paths behind an @."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeinfer.tui.commands import COMMANDS

_MOST = 50
_LAST_PATH = re.compile(r'(?:^|\s)@("[^"\n]*|[^\s"]*)\Z')


@dataclass(frozen=True)
class Completion:
    """One way."""

    text: str  # all that is written then
    shown: str
    told: str = ""
    is_whole: bool = False  # nothing has to be added before it is sent


def may_be_completed(text: str) -> bool:
    """Whether to ask for completions at all; cheap."""
    return (text.startswith("/") and "\n" not in text) or _LAST_PATH.search(text) is not None


def needs_reading(text: str) -> bool:
    """Whether files have to be looked at for the completions of this text."""
    return not re.fullmatch(r"/[a-z?]*|/set .*", text)


def completions(text: str) -> list[Completion]:
    """Those of a text whose end is being written. Reads folders, and headers of models."""
    mention = _LAST_PATH.search(text)
    if mention is not None:
        found = _mentions(text[: mention.start(1)], mention[1])
    elif not text.startswith("/"):
        found = []
    elif " " not in text:
        found = _commands(text[1:])
    else:
        found = _arguments(*text[1:].split(" ", 1))
    return [] if [c.text for c in found] == [text] else found[:_MOST]


def _commands(begun: str) -> list[Completion]:
    return [
        Completion(
            f"/{c.names[0]} " if c.argument else f"/{c.names[0]}",
            f"/{c.names[0]} {c.argument}".rstrip(),
            c.told,
            not c.needs_argument,
        )
        for c in COMMANDS
        if any(name.startswith(begun) for name in c.names)
    ]


def _arguments(command: str, begun: str) -> list[Completion]:
    if command == "set" and " " not in begun:
        from edgeinfer.parameters import NAMES

        return _words("/set ", begun, NAMES, " ")
    if command in ("model", "load"):
        from edgeinfer.tui.choices import choices

        names = (choice.name for choice in choices() if choice.is_runnable)
        return _words(f"/{command} ", begun, names)
    if command in ("attach", "file"):
        return [
            Completion(f"/{command} {path}", path, is_whole=not path.endswith("/")) for path in _paths(begun)
        ]
    return []


def _words(before: str, begun: str, words: Iterable[str], behind: str = "") -> list[Completion]:
    return [
        Completion(before + word + behind, word, is_whole=not behind)
        for word in words
        if begun.lower() in word.lower()
    ]


def _mentions(before: str, begun: str) -> list[Completion]:
    quoted = begun.startswith('"')
    found = []
    for path in _paths(begun.removeprefix('"')):
        is_folder = path.endswith("/")
        if quoted or " " in path:
            written = f'"{path}' if is_folder else f'"{path}" '
        else:
            written = path if is_folder else f"{path} "
        found.append(Completion(before + written, path))
    return found


def _paths(begun: str) -> list[str]:
    """What is in the folder that a path leads to, folders with a slash at their end."""
    folder, _, name = begun.rpartition("/")
    try:
        place = Path(f"{folder}/" if "/" in begun else ".").expanduser()
        entries = sorted(
            entry.name + ("/" if entry.is_dir() else "")
            for entry in place.iterdir()
            if entry.name.lower().startswith(name.lower()) and (name or not entry.name.startswith("."))
        )
    except (OSError, ValueError, RuntimeError):
        return []
    return [f"{folder}/{entry}" if "/" in begun else entry for entry in entries]
