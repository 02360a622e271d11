"""The output file: one record a line, appended as answers come. A run that was stopped goes on with it.

What counts is what is there: a record of an answer stands in a whole line, and whatever else is found when
the file is opened again (half a line after a crash, records of failures) is dropped, to be done again.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

from edgeinfer.errors import DiskError, InvalidRequest

_BEGIN = b'{"id": "batch_req_'
_SYNC_EVERY = 5.0  # seconds


class ResultFile:
    """An output file, open for one run. Use it in a `with` statement.

    Attributes:
        answered: custom_id -> key of the line that was answered, as far as the file has been read.

    Raises:
        InvalidRequest: the file is there and is not the output of a batch, or another run writes it.
        DiskError: it cannot be read or written; what is written already stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self.answered: dict[str, str] = {}
        self._synced = time.monotonic()
        with self._disk_errors():
            self._file = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._disk_errors(), self._file:
            os.fsync(self._file.fileno())

    def append(self, record: dict[str, Any], key: str) -> None:
        """Write a record; from here on it survives the end of this process.

        Args:
            record: custom_id, response, error.
            key: of its line; becomes the id.
        """
        line = json.dumps({"id": f"batch_req_{key}", **record}).encode() + b"\n"
        assert line.startswith(_BEGIN), "or it is not known again"
        with self._disk_errors("what was answered is kept: make room and run the same command again"):
            while line:
                line = line[self._file.write(line) :]
            if time.monotonic() - self._synced > _SYNC_EVERY:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def _open(self) -> IO[bytes]:
        """The file: ours, locked, and with nothing after its last good record."""
        if self._path.exists() and not self._path.is_file():
            raise InvalidRequest(f"{self._path} is not a file")
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(self._path.open("a+b", buffering=0))
            self._lock(file)
            kept_to, has_gaps = self._scan()
            if not has_gaps:
                file.truncate(kept_to)
                stack.pop_all()
                return file
            self._compact()
        return self._open()

    def _lock(self, file: IO[bytes]) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(file.fileno()), self._path.stat())  # not replaced meanwhile
        except BlockingIOError:
            ours = False
        if not ours:
            raise InvalidRequest(f"another edgeinfer batch is writing {self._path}")

    def _scan(self) -> tuple[int, bool]:
        """(where the last good record ends, whether there is something bad before it)"""
        self.answered = {}
        kept_to, has_gaps, at = 0, False, 0
        with self._path.open("rb") as lines:
            for line in lines:
                if at == 0 and not _looks_like_ours(line):
                    raise InvalidRequest(
                        f"{self._path} exists and is not the output of a batch",
                        hint="give another file with -o",
                    )
                if found := _answered(line):
                    custom_id, key = found
                    has_gaps |= kept_to < at
                    self.answered[custom_id] = key
                    kept_to = at + len(line)
                at += len(line)
        return kept_to, has_gaps

    def _compact(self) -> None:
        """Put a file with the good records only in place of the old one."""
        with tempfile.NamedTemporaryFile(
            dir=self._path.parent, prefix=self._path.name, delete=False
        ) as fresh:
            try:
                shutil.copymode(self._path, fresh.name)
                with self._path.open("rb") as lines:
                    fresh.writelines(line for line in lines if _answered(line))
                fresh.flush()
                os.fsync(fresh.fileno())
                os.replace(fresh.name, self._path)
            except BaseException:
                os.unlink(fresh.name)
                raise

    @contextlib.contextmanager
    def _disk_errors(self, hint: str | None = None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError(f"cannot write {self._path}: {error.strerror}", hint=hint) from error


def _looks_like_ours(line: bytes) -> bool:
    """Whether a first line is the beginning of a record of ours; after a loss of power it may be zeros."""
    whole = line.strip(b"\0")
    return whole.startswith(_BEGIN) or (not line.endswith(b"\n") and _BEGIN.startswith(whole))


def _answered(line: bytes) -> tuple[str, str] | None:
    """(custom_id, key) if this is a whole record of an answer."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
        if record["response"]["status_code"] != 200 or not isinstance(record["custom_id"], str):
            return None
        return record["custom_id"], record["id"].removeprefix("batch_req_")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):  # damaged
        return None
