"""Random numbers that belong to a place, not to a stream: (seed, position, token id) -> Gumbel noise.

Drawing per place makes sampling repeatable whatever was computed before, beside or twice. Logarithm and
exponential are written with correctly rounded operations only (+, -, *, /, scaling by powers of two), so
that every platform decides alike; the maths libraries of platforms differ in the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # odd, 2**64 / golden ratio: the increment of splitmix64
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB

_LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # ln 2 with its last 21 bits zero: exact times small integers
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_SQRT_HALF = 0.7071067811865476
_LOG_TERMS = tuple(2.0 / (2 * i + 1) for i in range(11))  # 2 atanh(s) / s in powers of s*s
_EXP_TERMS = tuple(1.0 / float(np.prod(np.arange(1, i + 1, dtype=np.float64))) for i in range(14))


def _mix(x: int) -> int:
    """The finalizer of splitmix64 (Steele, Lea, Flood 2014), on one 64-bit word."""
    x = ((x ^ (x >> 30)) * _MIX_1) & _MASK
    x = ((x ^ (x >> 27)) * _MIX_2) & _MASK
    return x ^ (x >> 31)


def _key(seed: int, position: int, stream: int) -> int:
    """One 64-bit word for a place; streams 0 and 1 never meet."""
    key = _mix((seed + _GOLDEN) & _MASK)
    key = _mix((key ^ position) + _GOLDEN & _MASK)
    return _mix((key ^ stream) + _GOLDEN & _MASK)


def uniform(seed: int, position: int) -> float:
    """One number in (0, 1) for a position, independent of `gumbel` there."""
    return ((_key(seed, position, 1) >> 11) + 0.5) * 2.0**-53


def gumbel(seed: int, position: int, ids: NDArray[np.int64]) -> Floats:
    """Standard Gumbel noise (n) for these token ids at this position of this seed."""
    x = ids.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(_key(seed, position, 0))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX_2)
    x ^= x >> np.uint64(31)
    # 52 bits and a half: never 0 and never 1, so both logarithms below are finite
    u = ((x >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return -log(-log(u))


def log(x: Floats) -> Floats:
    """Natural logarithm of positive normal numbers, the same bits on every platform, within 2 ulp or so."""
    mantissa, exponent = np.frexp(x)
    low = mantissa < _SQRT_HALF
    mantissa = np.where(low, mantissa * 2.0, mantissa)
    k = exponent - low
    s = (mantissa - 1.0) / (mantissa + 1.0)
    s2 = s * s
    series = np.full_like(s, _LOG_TERMS[-1])
    for term in _LOG_TERMS[-2::-1]:
        series = series * s2 + term
    return k * _LN2_HIGH + (s * series + k * _LN2_LOW)


def exp(x: Floats) -> Floats:
    """Exponential of numbers <= 0, the same bits on every platform; below -700 it gives 0."""
    x = np.maximum(x, -1000.0)
    k = np.rint(x * 1.4426950408889634)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    series = np.full_like(r, _EXP_TERMS[-1])
    for term in _EXP_TERMS[-2::-1]:
        series = series * r + term
    return np.where(x < -700.0, 0.0, np.ldexp(series, k.astype(np.int32)))
