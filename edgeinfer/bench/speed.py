"""How fast this machine is, measured once in a few seconds and kept, to foretell the speed of models.

That of a machine with nothing else to do, also if it has while it is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeinfer import machine
from edgeinfer.errors import DiskError
from edgeinfer.paths import cache_folder

if TYPE_CHECKING:
    from edgeinfer.bench.work import Work

_SECONDS = 0.04  # of each kernel
_PREFILL_COLUMNS = 128
# The rest are attention, norms and barriers. Idle, 4 threads: prompts of 512 tokens get 0.86 of the kernels'
# speed with Llama-3.2-1B, 0.74 with Qwen2.5-0.5B; steps 0.74 to 0.95 of the bandwidth, most of them 0.8.
_SHARE_OF_MATRICES, _SHARE_OF_BANDWIDTH = 0.82, 0.8


@dataclass(frozen=True)
class Speed:
    """What all threads do together."""

    threads: int
    read_bytes_per_s: float  # streaming from memory
    step_values_per_s: dict[str, float]  # by tensor type: weights multiplied with one token
    prefill_values_per_s: dict[str, float]  # likewise, a token of many

    def decode(self, work: Work) -> float:
        """Tokens/s of one answer with little before it: memory or the kernels, whichever is slower."""
        reading = work.bytes_per_step / (_SHARE_OF_BANDWIDTH * self.read_bytes_per_s)
        return 1.0 / max(reading, _seconds(work.step_values, self.step_values_per_s))

    def prefill(self, work: Work) -> float:
        """Tokens/s of a prompt of some hundred tokens."""
        return _SHARE_OF_MATRICES / _seconds(work.layer_values, self.prefill_values_per_s)


def stored_speed() -> Speed | None:
    """What was measured on this machine before; None if nothing was."""
    try:
        kept = json.loads(_place().read_text())
        return Speed(**kept["speed"]) if kept["machine"] == _identity() else None
    except (OSError, DiskError, ValueError, KeyError, TypeError):
        return None


def machine_speed(*, remeasure: bool = False) -> Speed:
    """What was measured on this machine before, else what is measured now and kept in the cache folder."""
    known = None if remeasure else stored_speed()
    return known or _keep(_measure())


def _measure() -> Speed:
    from edgeinfer import _native
    from edgeinfer.bench.limits import LimitMeter

    threads = machine.n_threads()
    meter, reads = LimitMeter(threads), []
    values: dict[int, dict[str, float]] = {1: {}, _PREFILL_COLUMNS: {}}
    for n_columns, of_types in values.items():
        for kind in _native.bench.TENSOR_TYPES:
            reads.append(meter.read_gb_s())  # now and then: memory that others use too changes its speed
            of_types[kind] = _values_per_s(threads, kind, n_columns)
    read = statistics.quantiles(reads, n=4)[2] * 1e9  # the best were partly of a cache, the worst interrupted
    return Speed(threads, read, *values.values())


def _values_per_s(threads: int, kind: str, n_columns: int) -> float:
    """Of a kernel, on all threads at once: they share what cools and feeds the processor.

    In seconds of the processor: what others took of it does not count.
    """
    from edgeinfer import _native
    from edgeinfer.bench.kernels import IN_CACHE_BYTES, N_IN

    together = threading.Barrier(threads)

    def run(_: int) -> float:
        is_prefill = n_columns > 1
        bench = _native.bench.KernelBench(_native.target(), kind, N_IN, IN_CACHE_BYTES, n_columns, is_prefill)
        together.wait()
        begin, n_runs = time.thread_time(), 0
        while (seconds := time.thread_time() - begin) < _SECONDS:
            bench.run()
            n_runs += 1
        return n_runs * float(bench.n_rows * N_IN * n_columns) / seconds

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(run, range(threads)))


def _seconds(values: Mapping[str, int], per_s: dict[str, float]) -> float:
    return float(sum(n / per_s[kind] for kind, n in values.items()))


def _keep(speed: Speed) -> Speed:
    with contextlib.suppress(OSError, DiskError):  # no home, no permission: measured again next time
        place = _place()
        place.parent.mkdir(parents=True, exist_ok=True)
        new = place.with_name(f"{place.name}.{os.getpid()}.tmp")
        new.write_text(json.dumps({"machine": _identity(), "speed": asdict(speed)}))
        new.replace(place)
    return speed


def _place() -> Path:
    return cache_folder() / "speed.json"


def _identity() -> dict[str, Any]:
    """Another processor, share of it or program has another speed."""
    from edgeinfer import __version__, _native

    return {
        "edgeinfer": __version__,
        "host": platform.node(),
        "processor": machine.processor(),
        "threads": machine.n_threads(),
        "target": _native.target(),
    }
