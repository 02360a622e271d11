"""Rotary embeddings as the files describe them, folded into one frequency for each pair.

Sources: GGUF specification (keys `rope.*`); Su et al. 2021 (rotary embedding); Peng et al. 2023, section
3.4 (YaRN); the tensors `rope_freqs` and `rope_factors_*` divide the frequencies (Llama 3.1, Phi-3).
"""

from __future__ import annotations

import math

from edgeinfer.models.metadata import Metadata
from edgeinfer.models.spec import RopeTable

_LEAST_BASE = 2.0  # frequencies fall from pair to pair; real bases are 10,000 and more
_BETA_FAST, _BETA_SLOW = 32.0, 1.0  # YaRN: turns within the trained context, above: kept; below: stretched


def rope_base(meta: Metadata, key: str = "rope.freq_base") -> float:
    """The base of the frequencies, 10,000 if not said."""
    return meta.number(key, 10000.0, least=_LEAST_BASE, most=1e12)


def rope_table(meta: Metadata, head_dim: int) -> RopeTable:
    """The table that a file's `rope.*` keys and factor tensors describe."""
    n_rot, base = n_rotated(meta, head_dim), rope_base(meta)
    kind = meta.text("rope.scaling.type", "linear")
    factors = _factors(meta, n_rot // 2) or (1.0,) * (n_rot // 2)
    plain = tuple(f / by for f, by in zip(frequencies(n_rot, base), factors, strict=True))
    attention = meta.number("rope.scaling.attn_factor", 1.0)
    if kind == "yarn":
        return _yarn(meta, plain, base, attention)
    if kind not in ("linear", "none", "longrope"):
        raise meta.unsupported(f"rope scaling {kind!r:.40}")
    factor = 1.0 if kind == "none" else scaling_factor(meta)
    return RopeTable(tuple(f / factor for f in plain), attention)


def n_rotated(meta: Metadata, head_dim: int) -> int:
    """How many of a head's dimensions turn."""
    n_rot = meta.count("rope.dimension_count", head_dim, least=2)
    if n_rot % 2 or n_rot > head_dim:
        raise meta.bad(f"{meta.architecture}.rope.dimension_count is {n_rot} with heads of {head_dim}")
    return n_rot


def frequencies(n_rot: int, base: float, factor: float = 1.0) -> tuple[float, ...]:
    """Radians per position of each pair."""
    return tuple(base ** (-2 * i / n_rot) / factor for i in range(n_rot // 2))


def scaling_factor(meta: Metadata) -> float:
    """How many times longer than trained; 1.0 if not said. `rope.scale_linear` is its older name."""
    older = meta.number("rope.scale_linear", 1.0, least=1e-3, most=1e6)
    return meta.number("rope.scaling.factor", older, least=1e-3, most=1e6)


def _factors(meta: Metadata, n: int) -> tuple[float, ...] | None:
    """Divisors of the frequencies; of the two sets of long-rope, that for the context in use."""
    factors = meta.floats("rope_freqs.weight", n)
    if factors is not None:
        return factors
    trained = meta.count("context_length")
    original = meta.count("rope.scaling.original_context_length", trained)
    longer = (meta.context_length or trained) > original
    return meta.floats(f"rope_factors_{'long' if longer else 'short'}.weight", n)


def _yarn(meta: Metadata, plain: tuple[float, ...], base: float, attention: float) -> RopeTable:
    """Fast pairs keep their frequency, slow ones are stretched, a ramp between."""
    n_rot, factor = 2 * len(plain), scaling_factor(meta)
    n_ctx = meta.count("rope.scaling.original_context_length", meta.count("context_length"))

    def pair_of(turns: float) -> float:
        return n_rot * math.log(n_ctx / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(0, math.floor(pair_of(_BETA_FAST)))
    high = min(n_rot - 1, math.ceil(pair_of(_BETA_SLOW)))
    mixed = []
    for i, frequency in enumerate(plain):
        stretched = min(1.0, max(0.0, (i - low) / max(0.001, high - low)))
        mixed.append(frequency * (1 - stretched) + frequency / factor * stretched)
    magnitude = 1 + 0.1 * math.log(factor) if factor > 1 else 1.0
    return RopeTable(tuple(mixed), magnitude * attention)
