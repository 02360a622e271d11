"""What commands print: data to stdout, talk to stderr, colour only for people who want it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any, Self

from click.exceptions import Exit

from edgeinfer.errors import DiskError
from edgeinfer.text.safe import safe_text
from edgeinfer.text.sizes import in_bytes as in_bytes

_BOLD, _DIM, _RED, _CYAN, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[36m", "\x1b[0m"


def open_streams() -> None:
    """Make the standard streams of this process usable, whatever it was started with.

    A closed one leads nowhere: else the next file that is opened would get its number, and what is printed.
    Characters that the encoding of a terminal or a pipe lacks are written as escapes.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the process
        elif mode == "w":
            stream.reconfigure(errors="backslashreplace")


def data(text: str = "", *, end: str = "\n") -> None:
    """Write what was asked for to stdout, at once.

    When its reader has gone, as in `edgeinfer ... | head`, the command ends quietly.

    Raises:
        DiskError: it cannot be written, as to a full disk.
    """
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up(sys.stdout)
        raise Exit(0) from None
    except OSError as error:
        _give_up(sys.stdout)
        raise DiskError(f"cannot write to standard output: {error.strerror}") from error


def as_json(value: Any) -> None:
    """Write one JSON document to stdout, on one line."""
    escaped = not (sys.stdout.encoding or "").lower().startswith("utf")
    data(json.dumps(value, ensure_ascii=escaped).encode("utf-8", "replace").decode())


def talk(text: str = "", *, end: str = "\n") -> None:
    """Tell a person something beside the data, on stderr; nobody, if it cannot be written."""
    try:
        sys.stderr.write(text + end)
        sys.stderr.flush()
    except OSError:
        _give_up(sys.stderr)


def _give_up(stream: IO[str]) -> None:
    """From here on it leads nowhere, also for the interpreter's last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Status:
    """A passing line on stderr for a person at a terminal; leaving the `with` statement clears it."""

    def __init__(self) -> None:
        self._width = 0  # of what is shown

    def show(self, text: str) -> None:
        """This, in place of what is shown."""
        if is_terminal(sys.stderr):
            talk("\r" + text.ljust(self._width), end="")
            self._width = len(text)

    def clear(self) -> None:
        """Nothing."""
        if self._width:
            talk("\r" + " " * self._width + "\r", end="")
            self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.clear()


def error(message: str, hint: str | None) -> None:
    """One line that says what is wrong and, if there is one, a line that says what to do."""
    line = " ".join(safe_text(message).split("\n"))
    talk(f"{paint('error:', 'red', sys.stderr)} {line}")
    if hint:
        talk(f"{paint('hint:', 'cyan', sys.stderr)} {' '.join(safe_text(hint).split(chr(10)))}")


def is_terminal(stream: IO[str]) -> bool:
    """Whether a person is at the other end."""
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def paint(text: str, style: str, stream: IO[str] | None = None) -> str:
    """Coloured where the stream is a terminal that can and NO_COLOR is not set (no-color.org)."""
    stream = sys.stdout if stream is None else stream
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not is_terminal(stream)
    if plain:
        return text
    return {"bold": _BOLD, "dim": _DIM, "red": _RED, "cyan": _CYAN}[style] + text + _RESET


def table(rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """Rows in aligned columns on stdout, one line each; the first column is what the row is about."""
    cells = [[safe_text(str(cell)).replace("\n", "\\n") for cell in row] for row in rows]
    if title is not None:
        data(paint(title, "bold"))
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        data("  " + "  ".join(padded).rstrip())
