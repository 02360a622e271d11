"""A session becomes a file, where the person wants it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeinfer.errors import DiskError
from edgeinfer.sessions.export import as_json, as_markdown
from edgeinfer.sessions.store import Message, Session
from edgeinfer.text.safe import safe_text


def save(session: Session, messages: Sequence[Message], name: str = "") -> str:
    """Write it, as JSON if the name ends so; returns what to tell.

    Raises:
        DiskError: it cannot be written, or something is there already.
    """
    path = Path(name or f"conversation-{session.id}.md").expanduser()
    text = (as_json if path.suffix == ".json" else as_markdown)(session, messages)
    try:
        with path.open("x", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except FileExistsError as error:
        raise DiskError(f"{path} exists already", hint="take another name: /save NAME") from error
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error.strerror}") from error
    return safe_text(f"saved as {path}")
