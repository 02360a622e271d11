"""The tar that a bundle is, member by member: written in one way only, and read in no other.

Nothing is looked for in it. Who reads says what has to come next; so links, other kinds of files, strange
names and whatever else a tar may hold are never more than a header that differs.
"""

from __future__ import annotations

import tarfile
from typing import BinaryIO

from edgeinfer.hub.manifest import damaged

_BLOCK = 512
_LARGE = 8 << 30  # bytes: ustar has 11 octal digits for a size
_END = bytes(2 * _BLOCK)


def put(out: BinaryIO, name: str, data: bytes) -> None:
    """Write a whole member."""
    begin(out, name, len(data))
    out.write(data)
    finish(out, len(data))


def begin(out: BinaryIO, name: str, size_bytes: int) -> None:
    """Write what comes before the bytes of a member."""
    out.write(_header(name, size_bytes))


def finish(out: BinaryIO, size_bytes: int) -> None:
    """Write what comes behind them."""
    out.write(bytes(-size_bytes % _BLOCK))


def end(out: BinaryIO) -> None:
    """Write what comes behind all members."""
    out.write(_END)


def take(opened: BinaryIO, name: str, most_bytes: int) -> bytes:
    """The next member, which has to be called so. Raises IntegrityError, as all below."""
    block = opened.read(_BLOCK)
    try:
        size = tarfile.TarInfo.frombuf(block, "ascii", "strict").size
    except (tarfile.HeaderError, ValueError):
        size = 0
    _require_header(block, name, size if size <= most_bytes else 0)
    data = opened.read(size)
    _require_padding(opened, size)
    return data


def require(opened: BinaryIO, name: str, data: bytes) -> None:
    """The next member has to be this."""
    _require_header(opened.read(_BLOCK), name, len(data))
    if opened.read(len(data)) != data:
        raise damaged(f"{name} does not belong to its manifest")
    _require_padding(opened, len(data))


def skip(opened: BinaryIO, name: str, size_bytes: int) -> int:
    """Pass the next member, which has to be called so and as large. Returns where its bytes begin."""
    _require_header(opened.read(_BLOCK), name, size_bytes)
    offset = opened.tell()
    opened.seek(offset + size_bytes)
    _require_padding(opened, size_bytes)
    return offset


def require_end(opened: BinaryIO) -> None:
    """Nothing more may come."""
    if opened.read(len(_END) + 1) != _END:
        raise damaged("it does not end where it should")


def _header(name: str, size_bytes: int) -> bytes:
    """In one block: ustar's form has long names of wheels, GNU's has large models."""
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    in_ustar = size_bytes < _LARGE
    header = info.tobuf(tarfile.USTAR_FORMAT if in_ustar else tarfile.GNU_FORMAT, "ascii", "strict")
    assert len(header) == _BLOCK, name
    return header


def _require_header(block: bytes, name: str, size_bytes: int) -> None:
    if size_bytes <= 0 or block != _header(name, size_bytes):
        raise damaged(f"{name} is missing, or something else is in its place")


def _require_padding(opened: BinaryIO, size_bytes: int) -> None:
    """What fills the last block of a member, which is also missing if its own last bytes are."""
    n = -size_bytes % _BLOCK
    if opened.read(n) != bytes(n):
        raise damaged("it ends too early")
