"""One writer of a file at a time, across processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_LOOK_S = 0.2  # how often to look whether another process is done


@contextlib.contextmanager
def only_writer(lock: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a lock; its end, even by a kill, frees it. `waiting` is called again and again before."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    while True:
        try:
            held.acquire(timeout=_LOOK_S)
            break
        except Timeout:
            waiting()
    try:
        yield
    finally:
        held.release()


@contextlib.contextmanager
def if_free(lock: Path) -> Iterator[bool]:
    """Whether nobody holds a lock; if so it is held meanwhile."""
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        held.release()
