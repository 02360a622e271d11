"""Runs: the keys and values of consecutive blocks of a sequence, one file each.

    magic 8 bytes | parent 24 bytes | start, n_tokens, n_blocks, n_parts: 4 x u32
    tokens: n_tokens x i32
    sizes: n_blocks x n_parts x u32, bytes of each part of each block
    checksums: n_blocks x u32 (CRC-32 of each block), then u32 (of all above)
    blocks

Little-endian. The name of a file is a hash of its parent's name, its start and its tokens: whoever writes the
same tokens behind the same beginning writes the same file. It is written beside its place, synced and then
renamed, so that a name stands for a whole file. What is torn, foreign, renamed or changed all the same does
not match its name, its size or its checksums.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeinfer.backends.base import KvBlock
from edgeinfer.disk import sync_folder
from edgeinfer.kv.tokens import Tokens

SUFFIX, PART = ".kv", ".part"
_MAGIC = b"EDGEKV\x00\x02"
_HEAD = struct.Struct("<8s24s4I")
_NAME_DIGITS = 24


@dataclass(frozen=True, eq=False)
class Run:
    """What a file says of its blocks."""

    parent: str  # name of the run that this one continues; "" at the beginning of a sequence
    start: int  # tokens of the sequence before it, whole blocks
    tokens: Tokens
    sizes: NDArray[np.uint32]  # (n_blocks, n_parts)
    checksums: Sequence[int] = ()  # CRC-32 of each block, once it is written

    @cached_property
    def name(self) -> str:
        """24 hexadecimal digits."""
        origin = f"{self.parent} {self.start} ".encode()
        return hashlib.sha256(origin + self.tokens.astype("<i4").tobytes()).hexdigest()[:_NAME_DIGITS]

    @property
    def file_name(self) -> str:
        """The parent is in it, so that a listing of the folder shows who continues whom."""
        return (f"{self.name}-{self.parent}" if self.parent else self.name) + SUFFIX

    @property
    def head_bytes(self) -> int:
        """Where the blocks begin."""
        return _HEAD.size + 4 * (len(self.tokens) + self.sizes.size + len(self.sizes) + 1)

    @property
    def n_bytes(self) -> int:
        """Of its file."""
        return self.head_bytes + int(self.sizes.sum(dtype=np.int64))


def run_of(file_name: str) -> str:
    """The name of the run in a file of this name."""
    return file_name.removesuffix(SUFFIX).partition("-")[0]


def parent_of(file_name: str) -> str:
    """The name of the run that it continues; "" if there is none."""
    return file_name.removesuffix(SUFFIX).partition("-")[2]


def write_run(path: Path, run: Run, blocks: Iterable[KvBlock]) -> bool:
    """Make the file of a run; False if there were not all of its blocks.

    Raises OSError. Nothing is left of a file that is not whole.
    """
    handle, temporary = tempfile.mkstemp(PART, dir=path.parent)  # mode 0600
    try:
        with open(handle, "wb") as file:
            file.seek(run.head_bytes)
            checksums = []
            for block in blocks:
                checksums.append(_checksum(block))
                for part in block:
                    file.write(part.data)
            if len(checksums) < len(run.sizes):
                return False
            file.seek(0)
            file.write(_head(run, checksums))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # mostly it has its name by now
            os.unlink(temporary)
    sync_folder(path.parent)
    return True


def read_run(path: Path) -> Run:
    """What a file holds. Raises OSError, or ValueError if it is torn, foreign, renamed or changed."""
    with path.open("rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        fixed = file.read(_HEAD.size)
        if len(fixed) < _HEAD.size or not fixed.startswith(_MAGIC):
            raise ValueError("foreign")
        _, parent, start, n_tokens, n_blocks, n_parts = _HEAD.unpack(fixed)
        n_words = n_tokens + n_blocks * n_parts + n_blocks + 1
        if 4 * n_words > n_bytes:
            raise ValueError("torn")
        rest = file.read(4 * n_words)
    if zlib.crc32(fixed + rest[:-4]) != int.from_bytes(rest[-4:], "little"):
        raise ValueError("changed")
    ends = np.cumsum([n_tokens, n_blocks * n_parts, n_blocks])
    tokens, sizes, checksums, _ = np.split(np.frombuffer(rest, "<u4"), ends)
    run = Run(
        parent.rstrip(b"\0").decode("ascii"),
        start,
        tokens.astype(np.int32),
        sizes.astype(np.uint32).reshape(n_blocks, n_parts),
        checksums.tolist(),
    )
    if run.file_name != path.name or run.n_bytes != n_bytes:
        raise ValueError("renamed or torn")
    return run


def read_blocks(path: Path, run: Run, n: int) -> Iterator[KvBlock]:
    """Its first n blocks, each borrowed until the next one is asked for.

    Raises OSError, or ValueError if one is not what was written.
    """
    buffer = np.empty(int(run.sizes.sum(axis=1, dtype=np.int64).max()), np.uint8)  # stays in the cache
    with path.open("rb") as file:
        file.seek(run.head_bytes)
        for sizes, checksum in zip(run.sizes[:n], run.checksums, strict=False):
            *ends, n_bytes = np.cumsum(sizes, dtype=np.int64)
            block = buffer[:n_bytes]
            if file.readinto(block.data) != n_bytes or zlib.crc32(block.data) != checksum:
                raise ValueError("changed")
            yield tuple(np.split(block, ends))


def _head(run: Run, checksums: Sequence[int]) -> bytes:
    n_blocks, n_parts = run.sizes.shape
    head = _HEAD.pack(_MAGIC, run.parent.encode(), run.start, len(run.tokens), n_blocks, n_parts)
    words = (run.tokens.view(np.uint32), run.sizes.ravel(), np.array(checksums, np.uint32))
    head += np.concatenate(words).astype("<u4").tobytes()
    return head + zlib.crc32(head).to_bytes(4, "little")


def _checksum(block: KvBlock) -> int:
    checksum = 0
    for part in block:
        checksum = zlib.crc32(part.data, checksum)
    return checksum
