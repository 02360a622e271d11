"""Room for one more file of saved keys and values: the longest unused go, of whatever model.

Only files that no other continues: without its beginning a sequence is of no use.
"""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeinfer.kv.run_file import PART, SUFFIX, parent_of, run_of

MOST_FILES = 1024  # a search may have to read as many heads, 0.1 ms each
_ABANDONED = 60.0  # seconds after the last write to a file that has no name yet

Key = tuple[Path, str]  # folder, name of a run


@dataclass(order=True)
class _File:
    used_at: float
    n_bytes: int = field(compare=False)
    path: Path = field(compare=False)

    @property
    def key(self) -> Key:
        return self.path.parent, run_of(self.path.name)

    @property
    def parent(self) -> Key:
        return self.path.parent, parent_of(self.path.name)


def make_room(root: Path, new: Path, n_bytes: int, most_bytes: int) -> bool:
    """Whether a new file of so many bytes fits with those that it continues; removes others if it must."""
    files = {file.key: file for file in _files(root) if file.path != new}
    n_files, total = len(files) + 1, n_bytes + sum(file.n_bytes for file in files.values())
    before = new.parent, parent_of(new.name)
    continued = Counter([before, *(file.parent for file in files.values())])
    whole = n_bytes
    while before in files:
        whole += files[before].n_bytes
        before = files[before].parent
    if whole > most_bytes:
        return False
    for file in files.values():
        if file.parent[1] and file.parent not in files:
            file.used_at = 0.0  # its beginning was lost
    leaves = [file for file in files.values() if file.path.suffix == SUFFIX and not continued[file.key]]
    heapq.heapify(leaves)
    while total > most_bytes or n_files > MOST_FILES:
        if not leaves:
            return False
        file = heapq.heappop(leaves)
        remove(file.path)
        n_files -= 1
        total -= file.n_bytes
        continued[file.parent] -= 1
        if not continued[file.parent] and file.parent in files:
            heapq.heappush(leaves, files[file.parent])
    return True


def remove(path: Path) -> None:
    """Remove a file, if it is there and that is allowed."""
    with contextlib.suppress(OSError):
        path.unlink()


def _files(root: Path) -> Iterator[_File]:
    """Of all models, those without a name too, unless nobody writes them any more: they are removed."""
    for path in root.glob("*/*"):
        with contextlib.suppress(OSError):
            info = path.stat()
            if path.suffix == PART and time.time() - info.st_mtime > _ABANDONED:
                remove(path)
            elif path.suffix in (SUFFIX, PART):
                yield _File(info.st_mtime, info.st_size, path)
