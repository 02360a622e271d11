"""SavedPrefixes: keys and values of sequences in files, so that a restart does not read everything again.

One file a sequence, in a folder of its own for each model and KV format:

    magic 8 bytes | n_tokens, n_blocks, block_bytes: 3 x u64
    tokens: n_tokens x i32
    blocks: n_blocks x block_bytes
    checksums: n_blocks x u32 (CRC-32 of each block), then u32 (of all above but the blocks)

Little-endian. A file is written beside its place, synced and renamed, so that a name stands for a whole file;
what is torn, foreign or changed all the same is dropped. Files are readable by their owner alone: they hold
prompts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinfer.errors import DiskError

_MAGIC = b"EDGEKV\x00\x01"
_HEAD = struct.Struct("<8s3Q")
_SUFFIX, _TEMPORARY = ".kv", ".part"
_ABANDONED = 3600.0  # seconds after which nobody writes a temporary file any more
_MOST_TOKENS = 1 << 24
_MOST_FILES = 256  # looked at before the first long prompt, 0.2 ms each

Blocks = list[NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Saved:
    """A file, as far as it has been looked at."""

    path: Path
    tokens: NDArray[np.int32]
    n_blocks: int
    block_bytes: int

    @property
    def first_block(self) -> int:
        """Where the blocks begin, in bytes."""
        return _HEAD.size + 4 * len(self.tokens)


def model_key(path: Path, kv_format: str) -> str:
    """What must be the same for saved keys and values to be of use.

    The weights are known by size, time of change and the first MiB, which tells names, shapes and settings;
    reading all of them would take longer than it saves.
    """
    info = path.stat()
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(1 << 20)).hexdigest()
    return f"{head} {info.st_size} {info.st_mtime_ns} {kv_format}"


class SavedPrefixes:
    """The saved sequences of one model.

    Args:
        folder: of all models; made when something is saved.
        key: what must be the same for a file to be of use: the model and the format of its KV memory.
        most_bytes: of all files of all models together; the longest unused go first.
    """

    def __init__(self, folder: Path, key: str, most_bytes: int) -> None:
        self._root = folder
        self._folder = folder / hashlib.sha256(key.encode()).hexdigest()[:24]
        self._most_bytes = most_bytes

    def __len__(self) -> int:
        return len(self._saved)

    @property
    def all(self) -> Sequence[Saved]:
        """What there is."""
        return self._saved

    @cached_property
    def _saved(self) -> list[Saved]:
        """Looked at when somebody first asks: only long prompts do."""
        try:
            return list(self._look())
        except OSError:  # what cannot be looked at is not there
            return []

    def write(self, tokens: NDArray[np.int32], blocks: Blocks) -> Saved | None:
        """Write a sequence; None if it is larger than all files may be.

        Safe from any thread; `add` makes it known.

        Raises:
            DiskError: it could not be written; nothing has changed.
        """
        if not blocks or sum(block.nbytes for block in blocks) > self._most_bytes:
            return None
        named = hashlib.sha256(tokens.astype("<i4").tobytes()).hexdigest()[:24]
        to = self._folder / (named + _SUFFIX)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_whole(to, tokens, blocks)
        except OSError as error:
            raise DiskError(f"cannot save keys and values in {self._folder}: {error.strerror}") from error
        return Saved(to, tokens, len(blocks), blocks[0].nbytes)

    def add(self, new: Saved) -> None:
        """Make a written file known; files of sequences that it begins with go, and what is too much."""
        older = [
            s
            for s in self._saved
            if s.path == new.path or np.array_equal(new.tokens[: len(s.tokens)], s.tokens)
        ]
        self._saved = [s for s in self._saved if s not in older] + [new]
        for saved in older:
            if saved.path != new.path:
                _remove(saved.path)
        self._keep_within_bounds(spare=new.path)

    def load(self, saved: Saved, n_blocks: int) -> Blocks | None:
        """The first blocks of a file, checked; None if it is not what it should be, then it is dropped."""
        try:
            with saved.path.open("rb") as file:
                size = _file_bytes(len(saved.tokens), saved.n_blocks, saved.block_bytes)
                if os.fstat(file.fileno()).st_size != size:
                    raise ValueError("torn")
                file.seek(saved.first_block + saved.n_blocks * saved.block_bytes)
                sums = np.frombuffer(file.read(4 * saved.n_blocks), "<u4")
                file.seek(saved.first_block)
                blocks = [np.empty(saved.block_bytes, np.uint8) for _ in range(min(n_blocks, saved.n_blocks))]
                for block, expected in zip(blocks, sums, strict=False):
                    if file.readinto(block.data) != saved.block_bytes or zlib.crc32(block.data) != expected:
                        raise ValueError("changed")
            os.utime(saved.path)  # it was of use just now
        except (OSError, ValueError):
            self._saved.remove(saved)
            _remove(saved.path)
            return None
        return blocks

    def _look(self) -> Iterator[Saved]:
        """The files that are whole, by their heads; others are removed."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.iterdir()):
            if path.suffix == _TEMPORARY:
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > _ABANDONED:
                        _remove(path)
            elif path.suffix == _SUFFIX:
                saved = _read_head(path)
                if saved is not None:
                    yield saved
                else:
                    _remove(path)

    def _keep_within_bounds(self, spare: Path) -> None:
        """Remove the files that were of no use for longest, of whatever model."""
        found = []
        for path in self._root.glob(f"*/*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                info = path.stat()
                found.append((info.st_mtime, info.st_size, path))
        total = sum(size for _, size, _ in found)
        n_files = len(found)
        for _, size, path in sorted(found):
            if total <= self._most_bytes and n_files <= _MOST_FILES:
                return
            if path != spare:
                _remove(path)
                n_files -= 1
                self._saved = [s for s in self._saved if s.path != path]
                total -= size


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _file_bytes(n_tokens: int, n_blocks: int, block_bytes: int) -> int:
    return _HEAD.size + 4 * n_tokens + n_blocks * (block_bytes + 4) + 4


def _write_whole(to: Path, tokens: NDArray[np.int32], blocks: Blocks) -> None:
    head = _HEAD.pack(_MAGIC, len(tokens), len(blocks), blocks[0].nbytes) + tokens.astype("<i4").tobytes()
    handle, name = tempfile.mkstemp(_TEMPORARY, dir=to.parent)  # mode 0600
    try:
        with open(handle, "wb") as file:
            file.write(head)
            sums = []
            for block in blocks:
                sums.append(zlib.crc32(block.data))
                file.write(block.data)
            tail = np.array(sums, "<u4").tobytes()
            file.write(tail + struct.pack("<I", zlib.crc32(head + tail)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, to)
    except BaseException:
        _remove(Path(name))
        raise
    folder = os.open(to.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_head(path: Path) -> Saved | None:
    """What the file says it holds; None if it cannot be true."""
    try:
        with path.open("rb") as file:
            fixed = file.read(_HEAD.size)
            magic, n_tokens, n_blocks, block_bytes = _HEAD.unpack(fixed)
            size = os.fstat(file.fileno()).st_size
            if (
                magic != _MAGIC
                or n_tokens > _MOST_TOKENS
                or size != _file_bytes(n_tokens, n_blocks, block_bytes)
            ):
                return None
            tokens = file.read(4 * n_tokens)
            file.seek(n_blocks * block_bytes, os.SEEK_CUR)
            tail = file.read()
    except (OSError, struct.error, OverflowError):
        return None
    if zlib.crc32(fixed + tokens + tail[:-4]) != struct.unpack("<I", tail[-4:])[0]:
        return None
    return Saved(path, np.frombuffer(tokens, "<i4").astype(np.int32), n_blocks, block_bytes)
