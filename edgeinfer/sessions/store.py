"""Conversations in one SQLite file, written as they happen.

Messages form a tree: an edited or regenerated message is a sibling of the one before it, and a session points
at the leaf that is shown. What an answer grows by is appended in a transaction of its own, so that a killed
process loses at most the token being written (write-ahead log; SQLite documentation, "WAL mode"). When the
disk takes no more, all goes on in memory.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from edgeinfer.errors import DiskError, NotFound

Role = Literal["user", "assistant"]
_T = TypeVar("_T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (
  id INTEGER PRIMARY KEY, title TEXT NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL,
  model TEXT NOT NULL, system TEXT NOT NULL, parameters TEXT NOT NULL, leaf INTEGER
);
CREATE TABLE IF NOT EXISTS messages (
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
  parent INTEGER REFERENCES messages(id) ON DELETE CASCADE, role TEXT NOT NULL, content TEXT NOT NULL,
  reasoning TEXT NOT NULL, created_at REAL NOT NULL, finish TEXT, cost TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS pieces (
  id INTEGER PRIMARY KEY, message INTEGER NOT NULL REFERENCES messages(id) ON DELETE CASCADE,
  content TEXT NOT NULL, reasoning TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS attachments (
  id INTEGER PRIMARY KEY, message INTEGER NOT NULL REFERENCES messages(id) ON DELETE CASCADE,
  name TEXT NOT NULL, text TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS preferences (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS messages_of ON messages(session);
CREATE INDEX IF NOT EXISTS children_of ON messages(parent);
CREATE INDEX IF NOT EXISTS pieces_of ON pieces(message);
CREATE INDEX IF NOT EXISTS attachments_of ON attachments(message);
"""
_VERSION = 1


@dataclass(frozen=True)
class Attachment:
    """A text that came with a message: a file, or something large that was pasted."""

    name: str
    text: str


@dataclass(frozen=True)
class Message:
    """What one side said."""

    id: int
    parent: int | None
    role: Role
    content: str
    reasoning: str = ""
    created_at: float = 0.0  # seconds since 1970
    finish: str | None = None  # why the answer ended; None: it was not told, as when the process was killed
    cost: dict[str, Any] = field(default_factory=dict)  # tokens and times, of answers
    attachments: tuple[Attachment, ...] = ()

    @property
    def told(self) -> str:
        """For the model: attachments, each between fences that do not occur in it, and the text."""
        parts = [_fenced(attachment) for attachment in self.attachments]
        return "\n\n".join([*parts, self.content] if self.content else parts)


@dataclass(frozen=True)
class Session:
    """A conversation."""

    id: int
    title: str
    created_at: float  # seconds since 1970
    updated_at: float
    model: str
    system: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)  # of sampling, those that were set
    leaf: int | None = None  # the last message of the branch that is shown


class SessionStore:
    """All sessions of a person. Several processes may have it open; one thread uses it.

    Attributes:
        damaged: where the file was put that could not be read, if so.
        failure: why nothing is written to the file any more, if so; all goes on in memory.
    """

    def __init__(self, path: Path) -> None:
        """Opens or makes the file; one that is damaged is put aside, never overwritten.

        Raises:
            DiskError: it can be neither read nor made.
        """
        self.damaged: Path | None = None
        self.failure: DiskError | None = None
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = _opened(path)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self.damaged = _put_aside(path)
                self._db = _opened(path)
        except (OSError, sqlite3.Error) as error:
            raise DiskError(f"cannot open {path}: {error}") from error

    @classmethod
    def in_memory(cls, failure: DiskError) -> Self:
        """For when no file can be had, and why."""
        store = cls(Path(":memory:"))
        store.failure = failure
        return store

    def close(self) -> None:
        """Nothing is lost without it."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def create(self, model: str, *, system: str = "", parameters: dict[str, Any] | None = None) -> Session:
        """A session without messages or title."""
        now = time.time()
        row = (now, now, model, system, json.dumps(parameters or {}))

        def write(db: sqlite3.Connection) -> int:
            cursor = db.execute(
                "INSERT INTO sessions (title, created_at, updated_at, model, system, parameters) "
                "VALUES ('', ?, ?, ?, ?, ?)",
                row,
            )
            return _id(cursor)

        return self.session(self._write(write))

    def exists(self, id: int) -> bool:
        """Whether there is such a session."""
        return bool(self._rows("SELECT 1 FROM sessions WHERE id = ?", id))

    def session(self, id: int) -> Session:
        """Raises NotFound."""
        rows = self._rows("SELECT * FROM sessions WHERE id = ?", id)
        if not rows:
            raise NotFound(f"there is no session {id}")
        return _session(rows[0])

    def sessions(self, search: str = "") -> list[Session]:
        """Those with messages, the latest first; of a search those in whose title or text it occurs."""
        pattern = "%" + search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        rows = self._rows(
            "SELECT * FROM sessions s WHERE leaf IS NOT NULL AND (title LIKE ?1 ESCAPE '\\' OR EXISTS "
            "(SELECT 1 FROM messages WHERE session = s.id AND content LIKE ?1 ESCAPE '\\')) "
            "ORDER BY updated_at DESC, id DESC",
            pattern,
        )
        return [_session(row) for row in rows]

    def update(
        self,
        id: int,
        *,
        title: str | None = None,
        model: str | None = None,
        system: str | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> Session:
        """Change what is given."""
        changes = {"title": title, "model": model, "system": system}
        given = {name: value for name, value in changes.items() if value is not None}
        if parameters is not None:
            given["parameters"] = json.dumps(parameters)

        def write(db: sqlite3.Connection) -> None:
            for name, value in given.items():
                db.execute(f"UPDATE sessions SET {name} = ? WHERE id = ?", (value, id))

        self._write(write)
        return self.session(id)

    def delete(self, id: int) -> None:
        """A session with all that was said."""
        self._write(lambda db: db.execute("DELETE FROM sessions WHERE id = ?", (id,)))

    def add(
        self,
        session: int,
        parent: int | None,
        role: Role,
        content: str,
        attachments: Sequence[Attachment] = (),
    ) -> Message:
        """Something is said, in answer to `parent`; the session shows it from now on.

        Raises NotFound if the session was deleted meanwhile, as all do that write into one.
        """
        now = time.time()

        def write(db: sqlite3.Connection) -> int:
            cursor = db.execute(
                "INSERT INTO messages (session, parent, role, content, reasoning, created_at, cost) "
                "VALUES (?, ?, ?, ?, '', ?, '{}')",
                (session, parent, role, content, now),
            )
            db.executemany(
                "INSERT INTO attachments (message, name, text) VALUES (?, ?, ?)",
                [(_id(cursor), a.name, a.text) for a in attachments],
            )
            _show(db, session, _id(cursor), now)
            return _id(cursor)

        id = self._write(write)
        return Message(id, parent, role, content, created_at=now, attachments=tuple(attachments))

    def append(self, message: int, content: str, reasoning: str = "") -> None:
        """An answer grows."""
        row = (message, content, reasoning)
        self._write(
            lambda db: db.execute("INSERT INTO pieces (message, content, reasoning) VALUES (?, ?, ?)", row)
        )

    def finish(self, message: int, reason: str, cost: dict[str, Any]) -> Message:
        """An answer has ended."""

        def write(db: sqlite3.Connection) -> None:
            content, reasoning = self._grown(message)
            db.execute(
                "UPDATE messages SET content = content || ?, reasoning = reasoning || ?, "
                "finish = ?, cost = ? WHERE id = ?",
                (content, reasoning, reason, json.dumps(cost), message),
            )
            db.execute("DELETE FROM pieces WHERE message = ?", (message,))

        self._write(write)
        rows = self._rows("SELECT * FROM messages WHERE id = ?", message)
        if not rows:
            raise _deleted()
        return self._message(rows[0])

    def show(self, session: int, message: int) -> None:
        """Show the branch of a message: the latest one below it."""
        leaf = message
        while child := self._rows("SELECT max(id) FROM messages WHERE parent = ?", leaf)[0][0]:
            leaf = child
        self._write(lambda db: _show(db, session, leaf, time.time()))

    def branch(self, session: int) -> list[Message]:
        """What was said on the branch that is shown, in order."""
        rows = self._rows("SELECT leaf FROM sessions WHERE id = ?", session)
        return self.line_to(rows[0][0]) if rows else []

    def line_to(self, message: int | None) -> list[Message]:
        """What was said up to a message, in order; None: nothing yet."""
        rows = self._rows(
            "WITH RECURSIVE up(id, depth) AS (SELECT ?, 0 UNION ALL "
            "SELECT parent, depth + 1 FROM messages JOIN up USING (id) WHERE parent IS NOT NULL) "
            "SELECT messages.* FROM messages JOIN up USING (id) ORDER BY depth DESC",
            message,
        )
        return [self._message(row) for row in rows]

    def siblings(self, session: int, message: Message) -> list[int]:
        """The messages said in its place, itself among them, in the order in which they were made."""
        rows = self._rows(
            "SELECT id FROM messages WHERE session = ? AND parent IS ? ORDER BY id", session, message.parent
        )
        found = [row[0] for row in rows]
        if message.id not in found:
            raise _deleted()
        return found

    def said(self, most: int) -> list[str]:
        """What the person said last, in any session, in order."""
        rows = self._rows(
            "SELECT content FROM messages WHERE role = 'user' AND content != '' ORDER BY id DESC LIMIT ?",
            most,
        )
        return [row[0] for row in reversed(rows)]

    def preference(self, name: str) -> str | None:
        """What the person chose, as the theme."""
        rows = self._rows("SELECT value FROM preferences WHERE name = ?", name)
        return rows[0][0] if rows else None

    def prefer(self, name: str, value: str) -> None:
        """Remember a choice."""
        self._write(
            lambda db: db.execute("REPLACE INTO preferences (name, value) VALUES (?, ?)", (name, value))
        )

    def _message(self, row: sqlite3.Row) -> Message:
        """With what an answer that was cut off had grown to."""
        content, reasoning = self._grown(row["id"]) if row["finish"] is None else ("", "")
        files = self._rows("SELECT * FROM attachments WHERE message = ? ORDER BY id", row["id"])
        return Message(
            row["id"],
            row["parent"],
            row["role"],
            row["content"] + content,
            row["reasoning"] + reasoning,
            row["created_at"],
            row["finish"],
            json.loads(row["cost"]),
            tuple(Attachment(file["name"], file["text"]) for file in files),
        )

    def _grown(self, message: int) -> tuple[str, str]:
        rows = self._rows("SELECT * FROM pieces WHERE message = ? ORDER BY id", message)
        return "".join(row["content"] for row in rows), "".join(row["reasoning"] for row in rows)

    def _rows(self, query: str, *parameters: Any) -> list[sqlite3.Row]:
        """Raises DiskError."""
        try:
            return self._db.execute(query, parameters).fetchall()
        except sqlite3.Error as error:
            raise DiskError(f"cannot read {self._path}: {error}") from error

    def _write(self, change: Callable[[sqlite3.Connection], _T]) -> _T:
        """One transaction; in memory if the disk takes it no more. Raises DiskError."""
        try:
            with self._db as db:
                return change(db)
        except sqlite3.IntegrityError as error:  # of a foreign key: there are no other constraints
            raise _deleted() from error
        except sqlite3.Error as error:
            failure = DiskError(f"cannot write {self._path}: {error}", hint="free some disk space")
            if self.failure is not None:
                raise failure from error
            self._leave_disk()
            self.failure = failure
        with self._db as db:
            return change(db)

    def _leave_disk(self) -> None:
        """Go on with a copy in memory. Raises DiskError."""
        copy = sqlite3.connect(":memory:")
        try:
            self._db.backup(copy)
        except sqlite3.Error as error:
            copy.close()
            raise DiskError(f"cannot read {self._path}: {error}") from error
        self._db.close()
        self._db = _prepared(copy)


def _deleted() -> NotFound:
    return NotFound("this session was deleted", hint="Ctrl+N begins a new one")


def _fenced(attachment: Attachment) -> str:
    runs = (len(run) for run in re.findall(r"`{3,}", attachment.text))
    fence = "`" * max(3, 1 + max(runs, default=0))
    return f"{attachment.name}:\n{fence}\n{attachment.text}\n{fence}"


def _opened(path: Path) -> sqlite3.Connection:
    """A connection to a file that was looked through. Raises sqlite3.DatabaseError."""
    db = _prepared(sqlite3.connect(path, timeout=5))
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last moments, never the file
        if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise DiskError(f"{path} was written by another version of edgeinfer")
        db.executescript(_SCHEMA + f"PRAGMA user_version = {_VERSION};")
    except BaseException:
        db.close()
        raise
    return db


def _prepared(db: sqlite3.Connection) -> sqlite3.Connection:
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA foreign_keys = ON")
    return db


def _put_aside(path: Path) -> Path:
    """Its new path; the log goes with it."""
    moved = path.with_name(f"{path.stem}.damaged-{time.strftime('%Y%m%d-%H%M%S')}{path.suffix}")
    for ending in ("", "-wal", "-shm"):
        part = Path(f"{path}{ending}")
        if part.exists():
            part.rename(f"{moved}{ending}")
    return moved


def _show(db: sqlite3.Connection, session: int, leaf: int, now: float) -> None:
    db.execute("UPDATE sessions SET leaf = ?, updated_at = ? WHERE id = ?", (leaf, now, session))


def _id(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _session(row: sqlite3.Row) -> Session:
    return Session(
        row["id"],
        row["title"],
        row["created_at"],
        row["updated_at"],
        row["model"],
        row["system"],
        json.loads(row["parameters"]),
        row["leaf"],
    )
