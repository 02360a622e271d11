"""Single kernels on one thread: time per 256 weights, bytes and operations a second."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

from edgeinfer import _native

DIRECT_COLUMNS = (1, 2, 4)
PREFILL_COLUMNS = (8, 16, 128, 512)
IN_CACHE_BYTES = 500_000  # weights that stay in L2
IN_MEMORY_BYTES = 200_000_000  # weights that come from memory
N_IN = 2048
_SECONDS = 0.1


@dataclass(frozen=True)
class KernelFigures:
    """The best of some runs."""

    target: str
    type: str
    form: str  # direct or prefill
    columns: int
    ns_per_256: float  # weights, for all columns
    gb_s: float  # of weights
    gops: float  # a multiply-add counts as two


def measure_kernels(targets: list[str], types: list[str], weight_bytes: int) -> Iterator[KernelFigures]:
    """Every type with every target, directly with few columns and as prefill with many."""
    forms = [("direct", n) for n in DIRECT_COLUMNS] + [("prefill", n) for n in PREFILL_COLUMNS]
    for target, type_, (form, columns) in itertools.product(targets, types, forms):
        yield _measure(target, type_, form, columns, weight_bytes)


def _measure(target: str, type_: str, form: str, columns: int, weight_bytes: int) -> KernelFigures:
    bench = _native.bench.KernelBench(target, type_, N_IN, weight_bytes, columns, form == "prefill")
    best, end = bench.run(), time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        best = min(best, bench.run())
    weights = bench.n_rows * N_IN
    return KernelFigures(
        target,
        type_,
        form,
        columns,
        ns_per_256=best * 1e9 / (weights / 256),
        gb_s=bench.n_rows * bench.row_bytes / best / 1e9,
        gops=2 * weights * columns / best / 1e9,
    )
