"""How much memory a model will need, worked out before any of it is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeinfer.errors import InvalidRequest, NotEnoughMemory
from edgeinfer.machine import Memory

if TYPE_CHECKING:
    from edgeinfer.models.spec import DecoderSpec

DEFAULT_CONTEXT = 8192  # tokens, when nobody asks for more
_LEAST_CONTEXT = 512  # below this a default context is of no use: say that memory is short
_CONTEXTS_IN_POOL = 4  # a parked conversation beside a running one, and some short ones
_BYTES_PER_VALUE = {"f16": 2.0, "q8_0": 34 / 32}
_WORK_BYTES = 128 << 20  # the process itself, activations and logits, rounded up


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes, and the context that they are for."""

    context_length: int
    file_bytes: int  # mapped, not copied; needed in memory to run at speed
    kv_bytes: int  # of one full context, taken as it fills
    pool_tokens: int  # room for keys and values of all sequences together: several contexts if memory allows
    work_bytes: int = _WORK_BYTES

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.file_bytes + self.kv_bytes + self.work_bytes


def kv_bytes_per_token(spec: DecoderSpec, kv_type: str) -> int:
    """Keys and values of one token in all layers."""
    return int(2 * spec.n_layers * spec.n_kv_heads * spec.head_dim * _BYTES_PER_VALUE[kv_type])


def plan_memory(
    spec: DecoderSpec, *, file_bytes: int, kv_type: str, context_length: int | None, memory: Memory
) -> MemoryPlan:
    """The plan for a context asked for, or for the longest sensible one that fits.

    Raises:
        NotEnoughMemory: with the figures, when it does not fit.
        InvalidRequest: the context is longer than the model was trained for, or shorter than two tokens.
    """
    per_token = kv_bytes_per_token(spec, kv_type)
    left = memory.available - file_bytes - _WORK_BYTES
    if context_length is None:
        longest = min(spec.n_ctx_train, DEFAULT_CONTEXT)
        context_length = max(min(longest, left // per_token), min(longest, _LEAST_CONTEXT))
    if not 2 <= context_length <= spec.n_ctx_train:
        raise InvalidRequest(
            f"context_length must be from 2 to {spec.n_ctx_train} for this model, not {context_length}"
        )
    pool_tokens = max(context_length, min(_CONTEXTS_IN_POOL * context_length, left // per_token))
    plan = MemoryPlan(context_length, file_bytes, context_length * per_token, pool_tokens)
    if plan.total_bytes > memory.available:
        raise NotEnoughMemory(
            f"the model needs {file_bytes / 1e9:.1f} GB + {plan.kv_bytes / 1e9:.1f} GB KV"
            f" + {_WORK_BYTES / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB are available",
            hint="close other programs, or use a smaller context, --kv-type q8_0 or a smaller model",
        )
    return plan
