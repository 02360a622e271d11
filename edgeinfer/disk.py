"""Files that must be there after a power cut, and what is said when they cannot be written."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from edgeinfer.errors import DiskError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def sync_folder(folder: Path) -> None:
    """Make new names in a folder outlive a power cut."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def replace_file(place: Path, content: bytes) -> None:
    """Write all of a file; whatever happens, it has its former content, or that of one who writes it now.

    Raises:
        DiskError.
    """
    fresh = place.with_name(f".{os.getpid()}.{threading.get_ident()}.part")
    with changing(place):
        try:
            with fresh.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if place.exists():
                shutil.copymode(place, fresh)
            fresh.replace(place)
            sync_folder(place.parent)
        finally:
            fresh.unlink(missing_ok=True)


def require_space(place: Path, n_bytes: int, what: str, otherwise: str) -> None:
    """Raises DiskError, with advice, if a place that need not exist yet has no room for so many bytes."""
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if n_bytes > free:
        raise DiskError(
            f"no space: {what} needs {n_bytes:,} bytes more, {free:,} are free in {place}",
            hint=f"free some, or {otherwise}",
        )


@contextlib.contextmanager
def changing(place: Path) -> Iterator[None]:
    """Turn what the operating system says about a file or folder that we write or remove into DiskError."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            hint = "free some and run the same command again"
            raise DiskError(f"no space left for {place}", hint=hint) from error
        what = error.strerror or str(error)
        raise DiskError(f"cannot change {error.filename or place}: {what}") from error
