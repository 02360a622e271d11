"""A request that gets no answer, and why; each dialect writes it in its own shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from edgeinfer.errors import EdgeInferError
from edgeinfer.server.bodies import InvalidParameter


@dataclass(frozen=True)
class Failure:
    """What a client is told."""

    status: int  # of HTTP
    code: str  # stable, as `context_length_exceeded`
    message: str
    param: str | None = None  # the field that is wrong, as `messages[0].role`

    @classmethod
    def of(cls, error: EdgeInferError) -> Self:
        """With the hint as part of the message: clients show nothing else."""
        message = f"{error.message}; {error.hint}" if error.hint else error.message
        param = error.param if isinstance(error, InvalidParameter) else None
        return cls(error.http_status, error.code, message, param)
