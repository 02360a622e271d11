"""How much memory a model will need, worked out before any of it is taken."""

from __future__ import annotations

import bisect
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeinfer.backends.base import ENDLESS, STEP_TOKENS
from edgeinfer.errors import InvalidRequest, NotEnoughMemory
from edgeinfer.machine import Memory
from edgeinfer.models.spec import N_SINKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeinfer.models.spec import DecoderSpec

DEFAULT_CONTEXT = 8192  # tokens, when nobody asks for more
_LEAST_CONTEXT = 512  # below this a default context is of no use: say that memory is short
_CONTEXTS_IN_POOL = 4  # a parked conversation beside a running one, and some short ones
_WINDOWS_PER_CONTEXT = 5  # a pool that holds several contexts has more sequences than those
_SHARES = 64  # of a context: a pool holds a whole number of these
_PROCESS_BYTES = 40 << 20  # interpreter and libraries: Linux, Python 3.11
_TOKEN_BYTES = 150  # of a vocabulary
# Of a value of an activation; what matrices read is there as floats, as bytes with scales, and packed.
_ROW_BYTES, _INPUT_BYTES = 4, 7


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes, and the context that they are for."""

    context_length: int  # tokens of one sequence
    file_bytes: int  # mapped, not copied; needed in memory to run at speed
    kv_bytes: int  # of one full context, taken as it fills
    pool_tokens: tuple[int, ...]  # of each pool: room for several contexts together, if memory allows
    work_bytes: int  # the process itself, and the activations of a step

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.file_bytes + self.kv_bytes + self.work_bytes


def kv_bytes_per_token(spec: DecoderSpec, kv_type: str) -> int:
    """Keys and values of one token in all layers."""
    return spec.n_layers * _kv_bytes_per_layer(spec, kv_type)


def kv_bytes(spec: DecoderSpec, kv_type: str, n_tokens: int) -> int:
    """Keys and values of a sequence: of layers with a window only what that and a step need."""
    return _pool_bytes(spec, kv_type, [span.kept(n_tokens, STEP_TOKENS) for span in spec.spans])


def filled_kv_bytes(spec: DecoderSpec, kv_type: str, context_length: int, parallel: int, room: int) -> int:
    """Keys and values of so many full contexts, in pools made for so many bytes of room.

    What layers with a window do not see any more stays as long as nobody wants its place. More contexts than
    the pools hold take turns.
    """
    most = _pool_tokens(spec, context_length, _CONTEXTS_IN_POOL * _SHARES)
    pools = _planned_pools(spec, kv_type, context_length, room)
    needed = [parallel * span.kept(context_length, STEP_TOKENS) for span in spec.spans]
    all_tokens = parallel * context_length
    tokens = [
        min(all_tokens, limit, max(pool, n)) for limit, pool, n in zip(most, pools, needed, strict=True)
    ]
    return _pool_bytes(spec, kv_type, tokens)


def work_bytes(spec: DecoderSpec, context_length: int) -> int:
    """The process, and what a step of many tokens computes in: the arrays of native/src/model/decoder.h."""
    width = spec.n_heads * spec.head_dim
    rows = 2 * spec.n_embd + width + 2 * spec.n_kv_heads * spec.head_dim + width  # x, added; q, k, v; queries
    inner = spec.n_ff
    if spec.n_experts:
        inner = spec.n_ff_expert * spec.n_experts_used
        rows += spec.n_embd * spec.n_experts_used
    of_token = _ROW_BYTES * (rows + inner) + _INPUT_BYTES * (spec.n_embd + width + inner)
    return _PROCESS_BYTES + _TOKEN_BYTES * spec.n_vocab + min(STEP_TOKENS, context_length) * of_token


def default_context(spec: DecoderSpec, kv_type: str, room: int) -> int:
    """The longest sensible context whose keys and values fit into so many bytes."""
    longest = min(spec.n_ctx_train, DEFAULT_CONTEXT)
    lengths = range(1, longest + 1)
    fitting = bisect.bisect_right(lengths, room, key=lambda n: kv_bytes(spec, kv_type, n))
    return max(fitting, min(longest, _LEAST_CONTEXT))


def _kv_bytes_per_layer(spec: DecoderSpec, kv_type: str) -> int:
    from edgeinfer import _native

    return int(_native.kv_token_bytes(spec, kv_type))


def _pool_bytes(spec: DecoderSpec, kv_type: str, tokens: Sequence[int]) -> int:
    """Of pools that hold so many tokens each."""
    n_layers = Counter(spec.layer_span)
    of_all = sum(n_layers[span] * n for span, n in zip(spec.spans, tokens, strict=True))
    return of_all * _kv_bytes_per_layer(spec, kv_type)


def _pool_tokens(spec: DecoderSpec, context_length: int, n_shares: int) -> tuple[int, ...]:
    """Tokens of each pool, for so many shares of a context together."""
    most = context_length * n_shares // _SHARES
    more = (n_shares - _SHARES) * _WINDOWS_PER_CONTEXT / _SHARES  # sequences beside a long one
    return tuple(
        min(most, span.kept(context_length, STEP_TOKENS) + int(more * span.window)) if span.window else most
        for span in spec.spans
    )


def _planned_pools(spec: DecoderSpec, kv_type: str, context_length: int, room: int) -> tuple[int, ...]:
    """Tokens of each pool: as many as the room allows, enough for one context in any case."""
    n_shares = bisect.bisect_right(
        range(_CONTEXTS_IN_POOL * _SHARES + 1),
        room,
        key=lambda n: _pool_bytes(spec, kv_type, _pool_tokens(spec, context_length, n)),
    )
    return _pool_tokens(spec, context_length, max(_SHARES, n_shares - 1))


def _endless(spec: DecoderSpec) -> int:
    """The context with a KV window, after a look at the window."""
    most = spec.n_ctx_train - N_SINKS
    if not N_SINKS <= spec.kv_window <= most:
        raise InvalidRequest(
            f"kv_window must be from {N_SINKS} to {most} for this model, not {spec.kv_window}",
            hint=f"it and the first {N_SINKS} tokens fill the context of {spec.n_ctx_train} at most",
        )
    return ENDLESS


def plan_memory(
    spec: DecoderSpec, *, file_bytes: int, kv_type: str, context_length: int | None, memory: Memory
) -> MemoryPlan:
    """The plan for a context asked for, or for the longest sensible one that fits.

    Raises:
        NotEnoughMemory: with the figures, when it does not fit.
        InvalidRequest: the context or the KV window is longer than the model was trained for, or too short.
    """
    work = work_bytes(spec, context_length or STEP_TOKENS)
    left = memory.available - file_bytes - work
    if spec.kv_window:
        context_length = _endless(spec)
    elif context_length is None:
        context_length = default_context(spec, kv_type, left)
    elif not 2 <= context_length <= spec.n_ctx_train:
        raise InvalidRequest(
            f"context_length must be from 2 to {spec.n_ctx_train} for this model, not {context_length}"
        )
    pool_tokens = _planned_pools(spec, kv_type, context_length, left)
    kv = kv_bytes(spec, kv_type, context_length)
    plan = MemoryPlan(context_length, file_bytes, kv, pool_tokens, work)
    if plan.total_bytes > memory.available:
        raise NotEnoughMemory(
            f"the model needs {file_bytes / 1e9:.1f} GB + {plan.kv_bytes / 1e9:.1f} GB KV"
            f" + {work / 1e9:.1f} GB, {memory.available / 1e9:.1f} GB are available",
            hint="close other programs, or use a smaller context, --kv-type q8_0 or iq4_nl, a smaller model",
        )
    return plan
