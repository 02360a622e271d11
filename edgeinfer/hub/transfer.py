"""One file from the network to its place, whatever happens in between.

Bytes go to `<place>.incomplete`, are hashed on their way, and get their name when all are there, are right
and are on the disk. An attempt that breaks, and a later run, goes on at the byte where the last one stopped.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from edgeinfer.disk import changing, sync_folder
from edgeinfer.errors import IntegrityError
from edgeinfer.hub.network import NoSuchRange, Transient, open_file
from edgeinfer.hub.report import Report

if TYPE_CHECKING:
    from hashlib import _Hash

    from edgeinfer.hub.network import RemoteFile

_T = TypeVar("_T")
_PIECE = 1 << 20
_ATTEMPTS_TO_ASK = 4  # for what a person waits, before any progress


@dataclass(frozen=True)
class Patience:
    """How long a transfer bears with a server."""

    attempts: int = 8  # in a row without a new byte
    first_delay_s: float = 0.5  # doubled after each attempt
    longest_delay_s: float = 15.0
    stall_s: float = 20.0  # without a byte: the connection is given up
    least_rate: float = 256.0  # bytes/s over `stall_s`: less is a stall too
    on_wait: Callable[[str, float], None] = lambda why, seconds: None  # told before each further attempt
    sleep: Callable[[float], object] = time.sleep

    def wait(self, failures: int, broken: Transient) -> None:
        """Until it is time for another attempt, after so many in a row that broke, the last one so."""
        backoff = min(self.longest_delay_s, self.first_delay_s * 2.0 ** (failures - 1))
        seconds = max(backoff, broken.retry_after)
        self.on_wait(broken.message, seconds)
        self.sleep(seconds)


def patiently(ask: Callable[[], _T], patience: Patience) -> _T:
    """What the network answers to a question, after some attempts if it has to be."""
    for failures in itertools.count(1):
        try:
            return ask()
        except Transient as broken:
            if failures >= min(patience.attempts, _ATTEMPTS_TO_ASK):
                raise
            patience.wait(failures, broken)
    raise AssertionError("unreachable")


def part_of(place: Path, file: RemoteFile) -> Path:
    """Where the bytes are that are here already: of this file, not of what its address gave before."""
    version = hashlib.sha256(file.etag.encode()).hexdigest()[:8] + "." if file.etag else ""
    return place.with_name(f"{place.name}.{version}incomplete")


def fetch(file: RemoteFile, place: Path, patience: Patience, report: Report) -> None:
    """Fetch a file to its place. The caller holds a lock on it.

    Raises:
        IntegrityError: what arrived has another checksum; it is removed.
        DiskError: what arrived cannot be kept; what is here stays for the next time.
        NetworkError and others of `network.open_file`: likewise.
    """
    part = part_of(place, file)
    with changing(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.etag:
            _remove_others(part, place)
        try:
            with part.open("a+b", buffering=0) as opened:
                _Transfer(file, opened, patience, report).run()
                os.fsync(opened.fileno())
        except IntegrityError:
            part.unlink(missing_ok=True)
            raise
        part.replace(place)
        sync_folder(place.parent)


def _remove_others(part: Path, place: Path) -> None:
    """What is left of the files that the same address gave before."""
    for other in place.parent.glob(f"{glob.escape(place.name)}.*incomplete"):
        if other != part:
            other.unlink()


def is_right(file: RemoteFile, place: Path, report: Report) -> bool:
    """Whether this is the file, byte for byte; without a known checksum by its size."""
    try:
        with place.open("rb", buffering=0) as opened:
            if os.fstat(opened.fileno()).st_size != file.size_bytes:
                return False
            check = _Check(file)
            return not check.knows or (check.read(opened, report) == file.size_bytes and check.passes())
    except FileNotFoundError:
        return False


class _Transfer:
    """The attempts at one file."""

    def __init__(self, file: RemoteFile, opened: BinaryIO, patience: Patience, report: Report) -> None:
        self._file = file
        self._opened = opened
        self._patience = patience
        self._report = report
        self._check = _Check(file)
        self._done = 0
        self._n_pieces = 0  # connections, and earlier runs, that the bytes came by

    def run(self) -> None:
        """All bytes, from here or from the network, and right."""
        self._resume()
        self._complete()
        if not self._check.passes() and self._n_pieces > 1:
            self._restart()  # put together from pieces, one of which may have been of another file
            self._complete()
        if not self._check.passes():
            raise IntegrityError(
                f"{self._file.name} arrived damaged: {self._check.difference()}",
                hint="what came is removed; try again, or another mirror",
            )

    def _resume(self) -> None:
        """Take what an earlier run left."""
        knows = self._check.knows or self._file.etag is not None  # which file the bytes are of
        if not knows or os.fstat(self._opened.fileno()).st_size > self._file.size_bytes:
            self._restart()
        self._opened.seek(0)
        self._done = self._check.read(self._opened, self._report)
        self._n_pieces = 1 if self._done else 0

    def _restart(self) -> None:
        self._opened.truncate(0)
        self._check = _Check(self._file)
        self._done = self._n_pieces = 0

    def _complete(self) -> None:
        failures, reached = 0, self._done
        while self._done < self._file.size_bytes:
            try:
                self._attempt()
            except Transient as broken:
                if isinstance(broken, NoSuchRange):
                    self._restart()
                failures = 1 if self._done > reached else failures + 1
                reached = max(reached, self._done)
                if failures >= self._patience.attempts:
                    raise
                self._patience.wait(failures, broken)

    def _attempt(self) -> None:
        """One connection, until the file is complete. Raises Transient when it ends before."""
        with open_file(self._file, self._done, self._patience.stall_s) as body:
            if body.start != self._done:
                self._restart()
            self._n_pieces += 1
            pace = _Pace(self._patience)
            for chunk in body.chunks:
                self._keep(chunk[: self._file.size_bytes - self._done])
                if self._done == self._file.size_bytes:
                    return
                pace.check(self._file.name, len(chunk))
        raise Transient(f"{self._file.name} ends after {self._done} of {self._file.size_bytes} bytes")

    def _keep(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            n = self._opened.write(rest)  # may be less when the disk is nearly full
            self._check.add(rest[:n])
            self._done += n
            rest = rest[n:]
        self._report(self._done)


class _Pace:
    """Gives up a connection that only drips."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._since, self._n_bytes = time.monotonic(), 0

    def check(self, name: str, n_bytes: int) -> None:
        """Count what came. Raises Transient when it was too little for too long."""
        self._n_bytes += n_bytes
        seconds = time.monotonic() - self._since
        if seconds < self._patience.stall_s:
            return
        if self._n_bytes < self._patience.least_rate * seconds:
            raise Transient(f"{name} comes at {self._n_bytes / seconds:.0f} bytes a second")
        self._since, self._n_bytes = time.monotonic(), 0


class _Check:
    """The checksum of a file that is known beforehand: its sha256, or git's sha1 of a small one."""

    def __init__(self, file: RemoteFile) -> None:
        self._expected = file.sha256 or file.git_sha1
        self.knows = self._expected is not None
        self._hash: _Hash = hashlib.sha256()
        if file.sha256 is None and file.git_sha1 is not None:
            self._hash = hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)

    def add(self, data: bytes | memoryview) -> None:
        """The next bytes of the file."""
        self._hash.update(data)

    def read(self, opened: BinaryIO, report: Report) -> int:
        """All that is in an open file from its position on. Returns how many bytes that is."""
        n = 0
        while data := opened.read(_PIECE):
            self.add(data)
            n += len(data)
            report(n)
        return n

    def passes(self) -> bool:
        """Whether all that was added is the file."""
        return self._expected in (None, self._hash.hexdigest())

    def difference(self) -> str:
        """What was expected and what came."""
        return f"its checksum should be {self._expected}, and is {self._hash.hexdigest()}"
