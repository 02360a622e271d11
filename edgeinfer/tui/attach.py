"""Texts that go along with a message: files, and what is too large to be shown where one writes."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from edgeinfer.errors import DiskError, InvalidRequest, NotFound
from edgeinfer.sessions.store import Attachment
from edgeinfer.text.safe import safe_text
from edgeinfer.text.sizes import in_bytes

MOST_BYTES = 16 << 20  # of a file: more than any context holds
_MOST_PASTED = (2000, 30)  # characters, lines: more than that is folded
_MENTION = re.compile(r'(?:^|(?<=\s))@("[^"\n]+"|\S+)')


def read_attachment(path: Path) -> Attachment:
    """A text file.

    Raises:
        NotFound, DiskError: it cannot be read.
        InvalidRequest: it is too large, or no text.
    """
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):  # reading a pipe would wait for ever
            raise InvalidRequest(f"{path} is no file", hint="attach files one by one")
        if info.st_size > MOST_BYTES:
            raise InvalidRequest(f"{path} is larger than {in_bytes(MOST_BYTES)}", hint="attach a part of it")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except OSError as error:
        raise DiskError(f"cannot read {path}: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is no text in UTF-8") from error
    if "\0" in text:
        raise InvalidRequest(f"{path} is no text")
    return Attachment(path.name, text)


def read_mentioned(text: str) -> list[Attachment]:
    """The files that a text mentions as @path; what is no file is only a word.

    Raises what `read_attachment` does.
    """
    paths = [Path(word.strip('"')).expanduser() for word in _MENTION.findall(text)]
    return [read_attachment(path) for path in dict.fromkeys(paths) if _is_file(path)]


def folded(text: str) -> Attachment | None:
    """What was pasted, as an attachment if it is large."""
    most_characters, most_lines = _MOST_PASTED
    if len(text) <= most_characters and text.count("\n") < most_lines:
        return None
    return Attachment("pasted", text)


def label(attachment: Attachment) -> str:
    """Its name and size, for people: "notes.txt 1.0 MiB, 12,345 lines"."""
    n_lines = attachment.text.count("\n") + (not attachment.text.endswith("\n"))
    size = in_bytes(len(attachment.text.encode("utf-8", "surrogatepass")))
    return safe_text(f"{attachment.name} {size}, {n_lines:,} {'line' if n_lines == 1 else 'lines'}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
