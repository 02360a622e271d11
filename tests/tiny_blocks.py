"""Random numbers and random quantized blocks that are the same on every machine.

Quantized matrices are random *blocks*: random bits under sane scales, which decode to numbers of the
wanted standard deviation, so no quantizer is needed; `gguf.quants.dequantize` is the oracle for what they
mean. Everything comes from PCG64's raw stream (guaranteed by numpy) and plain arithmetic.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

TYPES: tuple[str, ...] = (
    *("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"),
)


class Stream:
    """Bytes that depend on the key alone, the same with every numpy."""

    def __init__(self, key: str) -> None:
        self._bits = np.random.PCG64(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little"))

    def bytes(self, *shape: int) -> NDArray[np.uint8]:
        n = math.prod(shape)
        words = np.asarray(self._bits.random_raw((n + 7) // 8), dtype="<u8")
        return words.view(np.uint8)[:n].reshape(shape).copy()

    def below(self, limit: int, *shape: int) -> NDArray[np.int64]:
        """Integers 0 <= x < limit <= 256, nearly uniform."""
        return (self.bytes(*shape).astype(np.int64) * limit) >> 8

    def normal(self, *shape: int) -> NDArray[np.float64]:
        """About normal: four added bytes, mean 0 and standard deviation 1."""
        total = self.bytes(*shape, 4).astype(np.int64).sum(axis=-1)
        return (total - 510) / math.sqrt(4 * (256**2 - 1) / 12)


def _half(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(n) numbers as (n, 2) bytes of f16."""
    return values.astype("<f2")[:, None].view(np.uint8)


def _scale(rng: Stream, n: int, unit: float, signed: bool = False) -> NDArray[np.float64]:
    """(n) block scales around unit, 0.75 to 1.25 of it; half of them negative if signed."""
    values = unit * (192 + rng.below(129, n)) / 256
    return values * (1 - 2 * rng.below(2, n)) if signed else values


def _q8_0(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    return np.hstack([_half(_scale(rng, n, std / 73.6)), (rng.below(255, n, 32) + 129).astype(np.uint8)])


def _q4_0(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    return np.hstack([_half(_scale(rng, n, std / 4.6, signed=True)), rng.bytes(n, 16)])


def _q4_1(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    d = _scale(rng, n, std / 4.6)
    return np.hstack([_half(d), _half(-7.5 * d), rng.bytes(n, 16)])


def _q5_0(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    return np.hstack([_half(_scale(rng, n, std / 9.2, signed=True)), rng.bytes(n, 20)])


def _q5_1(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    d = _scale(rng, n, std / 9.2)
    return np.hstack([_half(d), _half(-15.5 * d), rng.bytes(n, 20)])


def _near(rng: Stream, scales: NDArray[np.int64], top: int) -> NDArray[np.int64]:
    """Minimums beside their scales (one more or less), so that a block's mean is near 0."""
    return np.clip(scales + rng.below(3, *scales.shape) - 1, 0, top)


def _q2_k(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    scales = 4 + rng.below(12, n, 16)
    packed = (scales | (_near(rng, scales, 15) << 4)).astype(np.uint8)
    d = _scale(rng, n, std / 11.4)
    return np.hstack([packed, rng.bytes(n, 64), _half(d), _half(1.5 * d)])


def _q3_k(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    return np.hstack([rng.bytes(n, 108), _half(_scale(rng, n, std / 42.6, signed=True))])


def _scales_and_mins(rng: Stream, n: int) -> NDArray[np.uint8]:
    """(n, 12): eight 6-bit scales and eight 6-bit minimums, packed as in Q4_K and Q5_K."""
    scales = 16 + rng.below(48, n, 8)
    mins = _near(rng, scales, 63)
    high = [x[:, :4] | (x[:, 4:] >> 4 << 6) for x in (scales, mins)]
    low = (scales[:, 4:] & 15) | ((mins[:, 4:] & 15) << 4)
    return np.hstack([*high, low]).astype(np.uint8)


def _q4_k(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    d = _scale(rng, n, std / 192)
    return np.hstack([_half(d), _half(7.5 * d), _scales_and_mins(rng, n), rng.bytes(n, 128)])


def _q5_k(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    d = _scale(rng, n, std / 385)
    return np.hstack([_half(d), _half(15.5 * d), _scales_and_mins(rng, n), rng.bytes(n, 160)])


def _q6_k(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    return np.hstack([rng.bytes(n, 208), _half(_scale(rng, n, std / 1365, signed=True))])


def _iq4_nl(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    return np.hstack([_half(_scale(rng, n, std / 71.5, signed=True)), rng.bytes(n, 16)])


def _iq4_xs(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    return np.hstack([_half(_scale(rng, n, std / 1322, signed=True)), rng.bytes(n, 134)])


def _mxfp4(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    exponent = 128 + math.frexp(std / 5.85)[1] - rng.below(2, n, 1)
    return np.hstack([exponent.astype(np.uint8), rng.bytes(n, 16)])


def _bf16(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    bits = (rng.normal(n, 1) * std).astype("<f4").view(np.uint32)
    return (bits >> 16).astype("<u2").view(np.uint8)


def _f16(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    return (rng.normal(n, 1) * std).astype("<f2").view(np.uint8)


def _f32(rng: Stream, n: int, std: float) -> NDArray[np.uint8]:
    return (rng.normal(n, 1) * std).astype("<f4").view(np.uint8)


_BLOCKS: dict[str, Callable[[Stream, int, float], NDArray[np.uint8]]] = {
    "F32": _f32,
    "F16": _f16,
    "BF16": _bf16,
    "Q8_0": _q8_0,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "MXFP4": _mxfp4,
}


def random_matrix(key: str, tensor_type: str, shape: tuple[int, ...], std: float) -> NDArray[np.uint8]:
    """Random valid blocks of a type: uint8 (*shape[:-1], bytes of a row).

    Args:
        key: names the random stream; the same key gives the same bytes.
        tensor_type: one of `TYPES`.
        shape: in elements, rows last; a row is a whole number of blocks.
        std: wanted standard deviation of the decoded numbers, met within 5 % (MXFP4, whose scales are
            powers of two: within 60 %).
    """
    block, _ = gguf.GGML_QUANT_SIZES[Type[tensor_type]]
    assert shape[-1] % block == 0, f"rows of {shape[-1]} do not fit blocks of {block}"
    data = _BLOCKS[tensor_type](Stream(key), math.prod(shape) // block, std)
    return np.ascontiguousarray(data).reshape(*shape[:-1], -1)
