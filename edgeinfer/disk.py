"""Files that must be there after a power cut, and what is said when they cannot be written."""

from __future__ import annotations

import contextlib
import errno
import os
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
