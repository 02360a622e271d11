"""A request that gets no answer, and why; each dialect writes it in its own shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from edgeinfer.errors import ContextLengthExceeded, EdgeInferError, InvalidRequest

_LONGEST_QUOTE = 100  # characters
_LONGEST_MESSAGE = 2000  # characters; many quote what the client sent


def quoted(text: str) -> str:
    """What a client sent, as short as a message repeats it."""
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}...")


@dataclass(frozen=True)
class Failure:
    """What a client is told."""

    status: int  # of HTTP
    code: str  # stable, as `context_length_exceeded`
    message: str
    param: str | None = None  # the field that is wrong, as `messages[0].role`
    n_prompt: int | None = None  # tokens, of a prompt that is too long
    n_context: int | None = None  # for so many
    retry_after_s: int | None = None  # when the same request may be answered

    @classmethod
    def of(cls, error: EdgeInferError) -> Self:
        """With the hint as part of the message: clients show nothing else."""
        message = f"{error.message}; {error.hint}" if error.hint else error.message
        if len(message) > _LONGEST_MESSAGE:
            message = f"{message[:_LONGEST_MESSAGE]}..."
        param = error.param if isinstance(error, InvalidRequest) else None
        n_prompt = n_context = None
        if isinstance(error, ContextLengthExceeded):
            n_prompt, n_context = error.n_prompt, error.n_context
        return cls(error.http_status, error.code, message, param, n_prompt, n_context, error.retry_after_s)
