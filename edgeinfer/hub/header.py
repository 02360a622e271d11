"""The header of a model that is elsewhere, read without its weights and without its vocabulary.

    with remote_header(files) as file:  # an open GgufFile; its tensors are holes
        spec = load_spec(file)

What is read goes into an empty file of the model's size, so that the one parser of GGUF that we have checks
it. Here is only what finds the way through (GGUF specification, "File Structure"): vocabularies, megabytes of
strings whose length nobody tells, are leapt over and left out.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeinfer.disk import changing
from edgeinfer.errors import BadModelFile
from edgeinfer.hub.network import RemoteFile, read_range
from edgeinfer.hub.transfer import Patience, patiently

if TYPE_CHECKING:
    from edgeinfer._native import GgufFile

_PIECE = 256 << 10  # bytes of one request
_MOST_BYTES = 64 << 20  # of all requests for one file: no header is so long
_MOST_FILE = 1 << 46  # bytes
_MOST_ENTRIES = 1 << 14  # keys, and tensors, as our parser allows
_MOST_KEY, _MOST_TEXT = 65535, 16 << 20
_LONG = 4096  # values: longer arrays are the vocabulary
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # value type -> bytes
_STRING, _ARRAY = 8, 9
_ALIGNMENT = b"general.alignment"
# Length and name of what may follow an array of the vocabulary: another key, or the first tensor.
_FOLLOWER = re.compile(
    rb"[\x08-\x40]\0{7}(?:tokenizer|general|quantize|split|token_embd|output|output_norm|blk|rope_freqs)\.\w"
)
_LONGEST_FOLLOWER = 128


@contextlib.contextmanager
def remote_header(files: Sequence[RemoteFile], patience: Patience | None = None) -> Iterator[GgufFile]:
    """A model of these shards, open as if it were here; nobody may read its weights.

    Raises:
        BadModelFile, UnsupportedModel: it is no model that can be read.
        NetworkError and others of `network.read_range`.
    """
    from edgeinfer import _native

    with tempfile.TemporaryDirectory(prefix="edgeinfer-") as folder:
        for file in files:
            name = Path(folder) / file.name.rpartition("/")[2]
            with changing(name):
                _write_shell(file, name, patience or Patience())
        try:
            yield _native.gguf_open(str(Path(folder) / files[0].name.rpartition("/")[2]))
        except BadModelFile as error:  # it is about the file, not about where its header is just now
            raise type(error)(error.message.replace(f"{folder}/", ""), hint=error.hint) from None


def _write_shell(file: RemoteFile, place: Path, patience: Patience) -> None:
    """A file like this one, with keys and tensors but without vocabulary and weights."""
    if not 24 <= file.size_bytes <= _MOST_FILE:
        raise BadModelFile(f"{file.name} of {file.size_bytes} bytes is no model")
    try:
        shell = _Walk(file, patience, leaping=True).shell()
    except _LostError:
        shell = _Walk(file, patience, leaping=False).shell()
    with place.open("wb") as out:
        out.write(shell.header)
        out.truncate(max(len(shell.header), file.size_bytes))
        for begin, n_values in shell.factors:
            if begin + 4 * n_values <= file.size_bytes:
                out.seek(begin)
                out.write(struct.pack("<f", 1.0) * n_values)


class _LostError(BadModelFile):
    """Bytes that are no GGUF; after a leap: it may have led astray."""


@dataclass(frozen=True)
class _Shell:
    header: bytes  # up to the first weight
    factors: list[tuple[int, int]]  # (place, values) of tensors that divide frequencies: any number > 0 does


class _Walk:
    """One way through a header. Whatever a file says, no more than `_MOST_BYTES` are asked for."""

    def __init__(self, file: RemoteFile, patience: Patience, *, leaping: bool) -> None:
        self._file, self._patience, self._leaping = file, patience, leaping
        self._begin, self._bytes = 0, b""  # what of the file is here
        self._at = 0  # where we are in the file
        self._n_read = 0

    def shell(self) -> _Shell:
        """All of it. Raises _LostError."""
        head = self._take(8)  # magic and version
        if head[:4] != b"GGUF":
            raise BadModelFile(
                f"{self._file.name} is no GGUF model", hint="look whether there is a GGUF of it"
            )
        n_tensors, n_keys = struct.unpack("<QQ", self._take(16))
        if max(n_tensors, n_keys) > _MOST_ENTRIES:
            raise self._lost()
        entries = dict(self._entry() for _ in range(n_keys))
        tensors = [self._tensor() for _ in range(n_tensors)]
        kept = [key + value for key, value in entries.items() if value]
        header = head + struct.pack("<QQ", n_tensors, len(kept)) + b"".join(kept)
        header += b"".join(info for info, _, _ in tensors)
        header += bytes(-len(header) % self._alignment(entries))
        return _Shell(header, [(len(header) + offset, n) for _, offset, n in tensors if n])

    def _alignment(self, entries: dict[bytes, bytes]) -> int:
        value = entries.get(struct.pack("<Q", len(_ALIGNMENT)) + _ALIGNMENT, struct.pack("<II", 4, 32))
        found = struct.unpack("<I", value[4:])[0] if len(value) == 8 else 0
        if not 8 <= found <= 1 << 20:
            raise self._lost()
        return int(found)

    def _entry(self) -> tuple[bytes, bytes]:
        """(key, type and value) of the next one; of the vocabulary no value."""
        key, kind = self._text(_MOST_KEY), self._take(4)
        (n,) = struct.unpack("<I", kind)
        if n == _STRING:
            return key, kind + self._text(_MOST_TEXT)
        if n != _ARRAY:
            return key, kind + self._take(self._scalar_bytes(n))
        what = self._take(12)
        element, count = struct.unpack("<IQ", what)
        if count > self._file.size_bytes:
            raise self._lost()
        if element == _STRING:
            if count > _LONG:
                self._pass_strings(count)
                return key, b""
            return key, kind + what + b"".join(self._text(_MOST_TEXT) for _ in range(count))
        n_bytes = count * self._scalar_bytes(element)
        if count > _LONG:
            self._at += n_bytes
            return key, b""
        return key, kind + what + self._take(n_bytes)

    def _tensor(self) -> tuple[bytes, int, int]:
        """(all that is told of the next one, offset, values if it divides frequencies)."""
        name, dims = self._text(_MOST_KEY), self._take(4)
        (n_dims,) = struct.unpack("<I", dims)
        if n_dims > 4:
            raise self._lost()
        rest = self._take(8 * n_dims + 12)
        *shape, _, offset = struct.unpack(f"<{n_dims}QIQ", rest)
        n_values = math.prod(shape)
        divides = name[8:].startswith(b"rope_") and n_values <= _LONG
        return name + dims + rest, offset, n_values if divides else 0

    def _scalar_bytes(self, kind: int) -> int:
        if kind not in _SCALARS:
            raise self._lost()
        return _SCALARS[kind]

    def _text(self, most: int) -> bytes:
        """A string with its length."""
        length = self._take(8)
        (n,) = struct.unpack("<Q", length)
        if n > most:
            raise self._lost()
        return length + self._take(n)

    def _pass_strings(self, count: int) -> None:
        if not self._leaping:
            for _ in range(count):
                (n,) = struct.unpack("<Q", self._take(8))
                self._at += n
            return
        self._at += 8 * count  # their lengths alone
        while (found := _FOLLOWER.search(self._bytes, self._at - self._begin)) is None:
            self._at = max(self._at, self._begin + len(self._bytes) - _LONGEST_FOLLOWER)
            self._read(_LONGEST_FOLLOWER + 1)
        self._at = self._begin + found.start()

    def _take(self, n: int) -> bytes:
        self._read(n)
        begin = self._at - self._begin
        self._at += n
        return self._bytes[begin : begin + n]

    def _read(self, n: int) -> None:
        """Have the next n bytes here."""
        end = self._begin + len(self._bytes)
        if self._at + n <= end:
            return
        kept = self._bytes[self._at - self._begin :]
        start, wanted = self._at + len(kept), max(_PIECE, n - len(kept))
        self._n_read += wanted
        if self._at + n > self._file.size_bytes or self._n_read > _MOST_BYTES:
            raise self._lost()
        more = patiently(lambda: read_range(self._file, start, wanted), self._patience)
        self._begin, self._bytes = self._at, kept + more

    def _lost(self) -> _LostError:
        return _LostError(
            f"{self._file.name}: its header cannot be read near byte {self._at}",
            hint="the file is damaged or was converted wrongly: look for another one",
        )
