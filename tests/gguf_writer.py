"""Writes GGUF files field by field, so that a test can get exactly one of them wrong.

Gguf([text("general.architecture", "llama")], [Tensor("x", (32,), data=bytes(128))]).bytes()
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

U8, I32, U32, F32, BOOL, STRING, ARRAY = 0, 5, 4, 6, 7, 8, 9


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def string(value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return u64(len(raw)) + raw


def entry(key: bytes | str, kind: int, value: bytes) -> bytes:
    """A metadata entry with an encoded value."""
    return string(key) + u32(kind) + value


def text(key: str, value: str) -> bytes:
    return entry(key, STRING, string(value))


def number(key: str, value: int) -> bytes:
    return entry(key, U32, u32(value))


def array(key: str, element: int, count: int, values: bytes) -> bytes:
    return entry(key, ARRAY, u32(element) + u64(count) + values)


@dataclass(frozen=True)
class Tensor:
    """One row of the tensor table; `offset` None: behind the tensor before."""

    name: str
    shape: tuple[int, ...]
    kind: int = 0  # F32
    data: bytes = b""
    offset: int | None = None
    n_dims: int | None = None


@dataclass(frozen=True)
class Gguf:
    """A file; counts that are None are true."""

    entries: list[bytes] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    magic: bytes = b"GGUF"
    version: int = 3
    n_entries: int | None = None
    n_tensors: int | None = None

    def bytes(self) -> bytes:
        """The file as it is on disk, aligned to 32 bytes."""
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_entries = len(self.entries) if self.n_entries is None else self.n_entries
        head = self.magic + u32(self.version) + u64(n_tensors) + u64(n_entries) + b"".join(self.entries)
        body = b""
        for tensor in self.tensors:
            n_dims = len(tensor.shape) if tensor.n_dims is None else tensor.n_dims
            offset = len(body) if tensor.offset is None else tensor.offset
            head += string(tensor.name) + u32(n_dims) + b"".join(map(u64, tensor.shape))
            head += u32(tensor.kind) + u64(offset)
            body += tensor.data + bytes(-len(tensor.data) % 32)
        return head + bytes(-len(head) % 32) + body
