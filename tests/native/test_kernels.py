"""Every kernel of every target that this machine runs, against slow and obvious references.

Weights are random valid blocks; `gguf`'s numpy dequantizer, which we did not write, says what they mean.
"""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeinfer import _native

TARGETS = _native.targets()
TYPES = {name: (values, size) for name, _, values, size in _native.testing.tensor_types()}
FLOAT_TYPES = ("F32", "F16", "BF16")
# Where the float16 scales of a block lie, so that random bytes do not become infinities.
SCALE_OFFSETS = {
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "IQ4_NL": (0,), "IQ4_XS": (0,),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "MXFP4": (),
}  # fmt: skip


def random_rows(kind: str, n_rows: int, n_in: int, rng: np.random.Generator) -> np.ndarray:
    """Valid rows of a type, uint8 (n_rows, row bytes); every bit pattern of the integers occurs."""
    if kind == "F32":
        return rng.standard_normal((n_rows, n_in)).astype(np.float32).view(np.uint8)
    if kind == "F16":
        return rng.standard_normal((n_rows, n_in)).astype(np.float16).view(np.uint8)
    if kind == "BF16":
        bits = rng.standard_normal((n_rows, n_in)).astype(np.float32).view(np.uint32) >> 16
        return bits.astype(np.uint16).view(np.uint8)
    values, size = TYPES[kind]
    blocks = rng.integers(0, 256, (n_rows, n_in // values, size), dtype=np.uint8)
    for at in SCALE_OFFSETS[kind]:
        scale = rng.uniform(-0.1, 0.1, blocks.shape[:2]).astype(np.float16)
        blocks[:, :, at : at + 2] = scale[..., None].view(np.uint8)
    if kind == "MXFP4":
        blocks[:, :, 0] = rng.integers(118, 130, blocks.shape[:2])
    return blocks.reshape(n_rows, -1)


def dequantized(kind: str, rows: np.ndarray) -> np.ndarray:
    """The rows as float32, by the gguf package."""
    if kind == "BF16":
        return (rows.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return quants.dequantize(rows, GGMLQuantizationType[kind])


def matmul(target: str, kind: str, rows: np.ndarray, x: np.ndarray, prefill: bool) -> np.ndarray:
    out = np.full((len(x), len(rows)), np.nan, np.float32)
    _native.testing.matmul(target, kind, rows.tobytes(), x, out, prefill)
    return out


def quantized_input(x: np.ndarray, group: int) -> np.ndarray:
    """What the integer kernels see of x: int8 times one scale a group, rounded to nearest even."""
    groups = x.reshape(len(x), -1, group)
    amax = np.abs(groups).max(-1, keepdims=True)
    inverse = np.where(amax > 0, np.float32(127) / np.where(amax > 0, amax, 1), 0).astype(np.float32)
    q = np.rint((groups * inverse).astype(np.float32))
    return (q.astype(np.float64) * (amax / np.float32(127))).reshape(x.shape)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", TYPES)
def test_dequantize_equals_the_gguf_package(kind: str, target: str) -> None:
    rng = np.random.default_rng(1)
    rows = random_rows(kind, 3, 512, rng)
    for row, expected in zip(rows, dequantized(kind, rows), strict=True):
        out = np.empty(512, np.float32)
        _native.testing.dequantize(target, kind, row.tobytes(), out)
        np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@settings(max_examples=12, deadline=None, derandomize=True)
@given(data=st.data())
@pytest.mark.parametrize("kind", TYPES)
def test_matmul_equals_the_reference_on_every_target(kind: str, data: st.DataObject) -> None:
    values = TYPES[kind][0]
    n_in = data.draw(st.integers(1, 5)) * max(values, 32)
    if values == 1:
        n_in += data.draw(st.integers(0, 31))  # tails
    n_rows, n_tokens = data.draw(st.integers(1, 75)), data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    rows = random_rows(kind, n_rows, n_in, rng)
    x = (rng.standard_normal((n_tokens, n_in)) * 10 ** rng.uniform(-3, 3)).astype(np.float32)
    seen = x.astype(np.float64) if kind in FLOAT_TYPES else quantized_input(x, 256 if values == 256 else 32)
    weights = dequantized(kind, rows).astype(np.float64)
    expected = seen @ weights.T
    # Each float step rounds once: the error is a few units in the last place of the largest partial sum.
    bound = 2e-6 * (np.abs(seen) @ np.abs(weights).T) + 1e-30
    first = None
    for target in TARGETS:
        for prefill in (False, True):
            out = matmul(target, kind, rows, x, prefill)
            assert (np.abs(out - expected) <= bound).all(), (target, prefill)
            first = out if first is None else first
            assert np.array_equal(out, first), f"{target}, prefill={prefill} differs from {TARGETS[0]}"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", TYPES)
def test_extreme_weights_and_inputs_do_not_overflow(kind: str, target: str) -> None:
    for byte in (0x00, 0x7F, 0x80, 0xFF):
        rows = np.full_like(random_rows(kind, 9, 512, np.random.default_rng(0)), byte)
        if kind not in FLOAT_TYPES:
            blocks = rows.reshape(9, -1, TYPES[kind][1])
            for at in SCALE_OFFSETS[kind]:
                blocks[:, :, at : at + 2] = np.array([0.25], np.float16).view(np.uint8)
            if kind == "MXFP4":
                blocks[:, :, 0] = 127
        else:
            rows = np.full((9, 512), 0.25, np.float32)
            rows = rows.view(np.uint8) if kind == "F32" else rows.astype(np.float16).view(np.uint8)
            if kind == "BF16":
                rows = np.full((9, 512), 0x3E80, np.uint16).view(np.uint8)
        for sign in (1, -1):
            x = np.full((17, 512), sign * 3.0, np.float32)
            expected = x.astype(np.float64) @ dequantized(kind, rows).astype(np.float64).T
            for prefill in (False, True):
                out = matmul(target, kind, rows, x, prefill)
                np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", TYPES)
def test_one_column_equals_many_columns_bit_for_bit(kind: str, target: str) -> None:
    rng = np.random.default_rng(2)
    rows = random_rows(kind, 45, 768, rng)
    # Short tiles with and without half vectors, tall tiles, two blocks of tokens.
    for n_tokens in (21, 27, 90, 530):
        x = rng.standard_normal((n_tokens, 768)).astype(np.float32)
        together = matmul(target, kind, rows, x, True)
        for n in (1, 2, 3, 4):
            for start in (0, 5, 16, n_tokens - 4):
                alone = matmul(target, kind, rows, np.ascontiguousarray(x[start : start + n]), False)
                assert np.array_equal(alone, together[start : start + n])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", ["Q4_K", "Q8_0", "Q4_0", "F16"])
def test_a_value_that_is_not_finite_shows_in_the_result(kind: str, target: str) -> None:
    rng = np.random.default_rng(3)
    rows = random_rows(kind, 8, 512, rng)
    for poison in (np.nan, np.inf, -np.inf):
        x = rng.standard_normal((6, 512)).astype(np.float32)
        x[2, 300] = poison
        for prefill in (False, True):
            out = matmul(target, kind, rows, x, prefill)
            assert not np.isfinite(out[2]).any()
            assert np.isfinite(np.delete(out, 2, 0)).all()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 100, 1000])
def test_elementwise_operations_equal_numpy(n: int, target: str) -> None:
    rng = np.random.default_rng(n)
    x, y = (rng.standard_normal((2, n)) * 6).astype(np.float32)
    x64, y64 = x.astype(np.float64), y.astype(np.float64)

    def run(op: str, parameter: float = 0.0) -> np.ndarray:
        out = x.copy()
        _native.testing.elementwise(target, op, out, y, parameter)
        return out

    np.testing.assert_allclose(run("silu_mul"), x64 / (1 + np.exp(-x64)) * y64, rtol=3e-6, atol=1e-7)
    inner = np.sqrt(2 / np.pi) * (x64 + 0.044715 * x64**3)
    np.testing.assert_allclose(run("gelu_mul"), 0.5 * x64 * (1 + np.tanh(inner)) * y64, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(run("softcap", 5.0), 5 * np.tanh(x64 / 5), rtol=1e-5, atol=1e-6)
    e = np.exp(x64 - x64.max())
    np.testing.assert_allclose(run("softmax"), e / e.sum(), rtol=2e-6, atol=1e-30)
    np.testing.assert_allclose(run("rms_norm", 1e-5), x64 / np.sqrt((x64**2).mean() + 1e-5) * y64, rtol=1e-5)


@pytest.mark.parametrize("op", ["silu_mul", "gelu_mul", "softcap", "softmax", "rms_norm"])
def test_elementwise_operations_agree_on_all_targets(op: str) -> None:
    rng = np.random.default_rng(4)
    x, y = (rng.standard_normal((2, 999)) * np.exp(rng.uniform(-20, 4, (2, 999)))).astype(np.float32)
    results = []
    for target in TARGETS:
        out = x.copy()
        _native.testing.elementwise(target, op, out, y, 3.0)
        results.append(out)
    for out in results[1:]:
        assert np.array_equal(out, results[0])


def attention_reference(q, k, v, scale, softcap, window) -> np.ndarray:
    out = np.empty(q.shape)
    for r in range(len(q)):
        position = len(k) - len(q) + r
        first = max(0, position - window + 1) if window else 0
        s = scale * (k[first : position + 1].astype(np.float64) @ q[r].astype(np.float64))
        if softcap:
            s = softcap * np.tanh(s / softcap)
        p = np.exp(s - s.max())
        out[r] = p @ v[first : position + 1] / p.sum()
    return out


def attend(target, kv_type, q, k, v, scale=0.1, softcap=0.0, window=0, n_threads=1) -> np.ndarray:
    out = np.full(q.shape, np.nan, np.float32)
    _native.testing.attention(target, kv_type, q, k, v, out, scale, softcap, window, n_threads)
    return out


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
@pytest.mark.parametrize(("kv_type", "tolerance"), [("f16", 2e-5), ("q8_0", 0.05), ("iq4_nl", 0.9)])
def test_attention_equals_the_reference_on_every_target(
    kv_type: str, tolerance: float, data: st.DataObject
) -> None:
    dim = data.draw(st.sampled_from([16, 32, 64, 80, 128]))
    n_tokens = data.draw(st.integers(1, 700))
    n_rows = data.draw(st.integers(1, min(n_tokens, 50)))
    window = data.draw(st.sampled_from([0, 0, 1, 31, 64, 300]))
    softcap = data.draw(st.sampled_from([0.0, 2.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    q, k, v = (rng.standard_normal((n, dim)).astype(np.float32) for n in (n_rows, n_tokens, n_tokens))
    k, v = (a.astype(np.float16).astype(np.float32) for a in (k, v))
    expected = attention_reference(q, k, v, 0.2, softcap, window)
    first = None
    for target in TARGETS:
        for n_threads in (1, 3):
            out = attend(target, kv_type, q, k, v, 0.2, softcap, window, n_threads)
            np.testing.assert_allclose(out, expected, atol=tolerance)
            first = out if first is None else first
            assert np.array_equal(out, first), f"{target} with {n_threads} threads differs"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kv_type", _native.KV_TYPES)
@pytest.mark.parametrize("window", [0, 100])
def test_a_query_row_does_not_depend_on_its_neighbours(window: int, kv_type: str, target: str) -> None:
    rng = np.random.default_rng(5)
    k, v = rng.standard_normal((2, 600, 64)).astype(np.float32)
    q = rng.standard_normal((600, 64)).astype(np.float32)
    together = attend(target, kv_type, q, k, v, window=window)
    for position in (0, 1, 31, 32, 255, 256, 257, 511, 512, 599):
        n = position + 1
        alone = attend(target, kv_type, q[position:n], k[:n], v[:n], window=window, n_threads=2)
        assert np.array_equal(alone[0], together[position])


def stored(v: np.ndarray, kv_type: str) -> np.ndarray:
    """The values (n_tokens, head_dim) as they come back: a window of one token gives each alone."""
    return attend(TARGETS[-1], kv_type, np.ones_like(v), np.ones_like(v), v, window=1)


@pytest.mark.parametrize("dim", [32, 64, 80, 96, 128, 256])
def test_iq4_nl_keeps_values_better_than_a_scale_and_a_minimum_would(dim: int) -> None:
    """On normal numbers a Q4_1 block, half a bit larger, leaves 0.0061 of the variance; `gguf` says so."""
    v = np.random.default_rng(dim).standard_normal((500, dim)).astype(np.float32)
    kind = GGMLQuantizationType.Q4_1
    q4_1 = quants.dequantize(quants.quantize(v.reshape(-1, 32), kind), kind)
    error = np.square(stored(v, "iq4_nl") - v).mean()
    assert error < np.square(q4_1.reshape(v.shape) - v).mean()


def test_iq4_nl_spreads_a_large_dimension_over_all() -> None:
    """The error that one dimension of 30 brings to the others: 0.3 of their size; 0.8 without a rotation."""
    v = np.random.default_rng(7).standard_normal((500, 64)).astype(np.float32)
    v[:, 5] = 30.0
    others = np.arange(32) != 5
    error = (stored(v, "iq4_nl") - v)[:, :32][:, others]
    assert np.sqrt(np.square(error).mean()) < 0.35


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kv_type", _native.KV_TYPES)
@pytest.mark.parametrize("damage", [np.nan, np.inf])
def test_damage_in_a_value_shows(damage: float, kv_type: str, target: str) -> None:
    v = np.ones((3, 64), np.float32)
    v[1, 40] = damage
    out = attend(target, kv_type, v, np.ones_like(v), v)
    assert not np.isfinite(out[1:, 40]).any()
