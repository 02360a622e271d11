"""The limits of this machine: streaming reads, multiply-adds and barriers, by number of threads."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeinfer import _native

_BUFFER_BYTES = 256 << 20  # many times the last-level cache of the machines that we aim at
_ROUNDS = 400_000  # 10 to 50 ms
_BARRIERS = 20_000


@dataclass(frozen=True)
class Limits:
    """What some threads can do together, medians."""

    threads: int
    read_gb_s: float
    float_gflops: float  # a multiply-add counts as two
    int8_gops: float  # likewise
    barrier_us: float  # until all threads have met


class LimitMeter:
    """Measures again and again, with one team of threads and one buffer."""

    def __init__(self, threads: int, buffer: NDArray[np.uint8] | None = None) -> None:
        self._threads = threads
        self._native = _native.bench.Limits(threads)
        self._buffer = np.ones(_BUFFER_BYTES, np.uint8) if buffer is None else buffer

    def read_gb_s(self) -> float:
        """One pass over the buffer."""
        return float(self._native.read(self._buffer)) / 1e9

    def float_gflops(self) -> float:
        """One run of float multiply-adds in registers."""
        return 2 * float(self._native.float_peak(_ROUNDS)) / 1e9

    def int8_gops(self) -> float:
        """One run of int8 multiply-adds on operands in L1."""
        return 2 * float(self._native.int8_peak(_ROUNDS)) / 1e9

    def barrier_us(self) -> float:
        """Many meetings of all threads, one after another."""
        return 1e6 * float(self._native.barrier(_BARRIERS))

    def measure(self, repetitions: int) -> Limits:
        """Medians of all."""
        meters = (self.read_gb_s, self.float_gflops, self.int8_gops, self.barrier_us)
        rounds = [[meter() for meter in meters] for _ in range(repetitions)]
        return Limits(self._threads, *(statistics.median(column) for column in zip(*rounds, strict=True)))


def measure_limits(threads: list[int], repetitions: int) -> list[Limits]:
    """For each number of threads."""
    buffer = np.ones(_BUFFER_BYTES, np.uint8)
    return [LimitMeter(n, buffer).measure(repetitions) for n in threads]
