"""From the name of a backend to one that runs; each is imported only when chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeinfer import machine
from edgeinfer.backends.base import Backend
from edgeinfer.backends.plan import MemoryPlan, plan_memory
from edgeinfer.config.table import KvType
from edgeinfer.errors import InvalidRequest
from edgeinfer.machine import Memory

if TYPE_CHECKING:
    from edgeinfer._native import GgufFile

BACKENDS = ("native",)
_BYTES_PER_THREAD = 4 << 20  # weights that a thread reads for each token


@dataclass(frozen=True)
class Wanted:
    """How a model should be run; None: decide from the machine and the model."""

    backend: str = "native"
    threads: int | None = None
    context_length: int | None = None
    kv_type: KvType = "f16"
    kv_window: int | None = None

    def __post_init__(self) -> None:
        """Check what needs no model."""
        if self.backend not in BACKENDS:
            raise InvalidRequest(
                f"there is no backend {self.backend!r}", hint=f"there are {', '.join(BACKENDS)}"
            )
        if self.threads is not None and not 1 <= self.threads <= 1024:
            raise InvalidRequest(f"threads must be from 1 to 1024, not {self.threads}")
        if self.kv_window is not None and self.kv_window < 1:
            raise InvalidRequest(f"kv_window must be positive, not {self.kv_window}")
        if self.kv_window is not None and self.context_length is not None:
            raise InvalidRequest(
                "kv_window and context_length exclude each other",
                hint="with a window a text may go on for ever",
            )


def plan(file: GgufFile, wanted: Wanted, memory: Memory) -> MemoryPlan:
    """What this model will take of this memory. Raises what `plan_memory` raises."""
    from edgeinfer import models

    return plan_memory(
        replace(models.load_spec(file), kv_window=wanted.kv_window or 0),
        file_bytes=file.size_bytes,
        kv_type=wanted.kv_type,
        context_length=wanted.context_length,
        memory=memory,
    )


def open_backend(file: GgufFile, wanted: Wanted) -> Backend:
    """A backend for this model, after a look at the memory.

    Raises:
        NotEnoughMemory, InvalidRequest, and what the family and the backend raise for the file.
    """
    from edgeinfer import _native, models
    from edgeinfer.backends.native import NativeBackend
    from edgeinfer.models.spec import N_SINKS

    planned = plan(file, wanted, machine.memory())
    window = wanted.kv_window or 0
    farthest = window + N_SINKS if window else planned.context_length  # that tokens see each other
    return NativeBackend(
        file,
        replace(models.load_spec(file, farthest), kv_window=window),  # long-rope depends on it
        n_threads=wanted.threads or _useful_threads(file.size_bytes),
        n_ctx=planned.context_length,
        kv_type=wanted.kv_type,
        n_blocks=[-(-n // _native.KV_BLOCK_TOKENS) + 1 for n in planned.pool_tokens],
    )


def _useful_threads(file_bytes: int) -> int:
    """As many as there are cores, but no more than have something to do between two barriers.

    The 7.6 MiB model on 4 cores that others use too: 2100 tokens/s with one thread, 98 with four.
    """
    return max(1, min(machine.n_threads(), file_bytes // _BYTES_PER_THREAD))


def check_weights(file: GgufFile) -> None:
    """Check every tensor as loading does. Raises BadModelFile or UnsupportedModel."""
    from edgeinfer import models
    from edgeinfer.backends.native import NativeBackend

    NativeBackend(file, models.load_spec(file), n_threads=1, n_ctx=2, n_blocks=1).shutdown()
