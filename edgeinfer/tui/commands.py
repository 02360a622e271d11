"""The commands that are typed where messages are."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One of them."""

    names: tuple[str, ...]  # the first is shown
    told: str  # what it does
    argument: str = ""  # what comes behind it
    needs_argument: bool = False


COMMANDS = (
    Command(("model", "models", "load"), "answer with another model; alone: choose one", "NAME"),
    Command(("attach", "file"), "send a text file along with the next message", "PATH", needs_argument=True),
    Command(("system",), "what the model should know and be", "TEXT"),
    Command(("set",), "a parameter: /set temperature 0.2", "NAME VALUE"),
    Command(("clear", "new"), "begin anew; what was said is kept"),
    Command(("sessions", "resume"), "open another session"),
    Command(("rename",), "give this session a title", "TITLE", needs_argument=True),
    Command(("save", "export"), "as Markdown, or as JSON if it ends in .json", "FILE"),
    Command(("help", "?"), "keys and commands"),
    Command(("bye", "exit", "quit", "q"), "end"),
)


def is_command(text: str) -> bool:
    """Whether it is one line that begins like a command, and no path: /usr/bin is none."""
    return re.fullmatch(r"/[a-z?]+( .*)?", text) is not None


def command_named(name: str) -> Command | None:
    """The one that this name means."""
    return next((command for command in COMMANDS if name in command.names), None)
