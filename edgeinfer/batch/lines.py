"""The lines of an input file: `{"custom_id", "method", "url", "body"}`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict

from edgeinfer.errors import DiskError, EdgeInferError, InvalidRequest, NotFound
from edgeinfer.server.bodies import parsed
from edgeinfer.server.openai.embeddings import EmbeddingsBody
from edgeinfer.server.openai.requests import ChatBody, CompletionBody

_LONGEST = 64 << 20  # bytes of a line; a prompt that fills a context of a million tokens has 5 MB
AnyBody = ChatBody | CompletionBody | EmbeddingsBody
_BODIES: dict[str, type[AnyBody]] = {
    "/v1/chat/completions": ChatBody,
    "/v1/completions": CompletionBody,
    "/v1/embeddings": EmbeddingsBody,
}


@dataclass(frozen=True)
class Line:
    """A line that is not empty.

    Attributes:
        number: counted from 1.
        custom_id: None where it has none.
        key: same line, same key; other lines have others.
        request: what it asks, or what is wrong with it.
    """

    number: int
    custom_id: str | None
    key: str
    request: AnyBody | EdgeInferError


class _Envelope(BaseModel):
    model_config = ConfigDict(strict=True)

    custom_id: str
    method: Literal["POST"]
    url: Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
    body: dict[str, object]


def open_input(path: Path) -> IO[bytes]:
    """The file, for reading. Raises NotFound or DiskError."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", hint="give the path of a JSON lines file") from None
    except OSError as error:
        raise DiskError(f"cannot read {path}: {error.strerror}") from error


def count(file: IO[bytes]) -> int:
    """How many lines `read` will give; the file is at its beginning again."""
    n = sum(1 for _ in _not_empty(file))
    file.seek(0)
    return n


def read(file: IO[bytes], salt: str) -> Iterator[Line]:
    """The lines, one at a time: the file may be larger than memory.

    Args:
        salt: part of every key.

    Raises:
        DiskError: the file cannot be read to its end.
    """
    try:
        for number, raw in _not_empty(file):
            yield _line(number, raw, salt)
    except OSError as error:
        raise DiskError(f"cannot read {file.name}: {error.strerror}") from error


def _not_empty(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number, text) of each line with something in it; of one that is too long only the beginning."""
    number = 0
    while raw := file.readline(_LONGEST + 1):
        number += 1
        rest = raw
        while len(rest) > _LONGEST and not rest.endswith(b"\n"):
            rest = file.readline(_LONGEST + 1)
        if text := raw.strip():
            yield number, text


def _line(number: int, raw: bytes, salt: str) -> Line:
    key = hashlib.sha256(salt.encode() + b"\0" + raw).hexdigest()[:24]
    if len(raw) > _LONGEST:
        problem = InvalidRequest(f"line {number} is longer than {_LONGEST >> 20} MiB")
        return Line(number, None, key, problem)
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        problem = InvalidRequest(f"line {number} is not JSON: {error}")
        return Line(number, None, key, problem)
    custom_id = value.get("custom_id") if isinstance(value, dict) else None
    if not isinstance(custom_id, str):
        custom_id = None
    try:
        envelope = parsed(_Envelope, value)
        return Line(number, custom_id, key, parsed(_BODIES[envelope.url], envelope.body))
    except InvalidRequest as problem:
        return Line(number, custom_id, key, problem)
