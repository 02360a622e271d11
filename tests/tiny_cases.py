"""The small models of tests/tiny.py: for each, what its metadata says and the spec it must become."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from edgeinfer.models.spec import DecoderSpec, Pooling, RopeTable
from numpy.typing import NDArray

N_VOCAB = 389  # not a multiple of anything: the last rows of the head are a tail for every kernel
N_CTX_TRAIN = 1024


@dataclass(frozen=True)
class Case:
    """One small model: what its metadata says and the spec that a reader must make of it."""

    name: str
    spec: DecoderSpec
    metadata: dict[str, Any]  # keys of "{arch}." without that prefix
    vocabulary: Literal["gpt2", "llama"] = "gpt2"
    embedding_std: float = 0.16
    post_norm_mean: float = 1.0
    output_norm_mean: float = 1.0
    rope_tensors: dict[str, NDArray[np.float32]] = field(default_factory=dict)


def _frequencies(n_rot: int, base: float, factor: float | NDArray[Any] = 1.0) -> tuple[float, ...]:
    plain = np.array([base ** (-2 * i / n_rot) for i in range(n_rot // 2)])
    return tuple(float(f) for f in plain / factor)


def _yarn(n_rot: int, base: float, factor: float, n_ctx: int) -> RopeTable:
    """YaRN (Peng et al. 2023, section 3.4) with its usual betas 32 and 1, ramp ends rounded outwards."""
    ends = [n_rot * math.log(n_ctx / (beta * 2 * math.pi)) / (2 * math.log(base)) for beta in (32.0, 1.0)]
    low, high = max(0, math.floor(ends[0])), min(n_rot - 1, math.ceil(ends[1]))
    plain = np.array(_frequencies(n_rot, base))
    keep = 1 - np.clip((np.arange(n_rot // 2) - low) / max(0.001, high - low), 0, 1)
    mixed = plain / factor * (1 - keep) + plain * keep
    return RopeTable(tuple(float(f) for f in mixed), 1 + 0.1 * math.log(factor))


def _spec(
    architecture: str, n_layers: int, n_heads: int, n_kv_heads: int, head_dim: int, **traits: Any
) -> DecoderSpec:
    table = RopeTable(_frequencies(head_dim, 10000.0))
    defaults: dict[str, Any] = {
        "n_ff": 512,
        "norm_eps": 1e-3,  # large enough to be seen in the logits
        "ropes": (table,),
        "layer_rope": (0,) * n_layers,
        "layer_window": (0,) * n_layers,
        "attention_scale": head_dim**-0.5,
    }
    return DecoderSpec(
        architecture=architecture,
        n_layers=n_layers,
        n_embd=256,
        n_vocab=N_VOCAB,
        n_ctx_train=N_CTX_TRAIN,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        **(defaults | traits),
    )


def _llama_cases() -> Iterator[Case]:
    yield Case("llama", _spec("llama", 2, 8, 2, 32), {"rope.dimension_count": 32})
    yield Case(
        "llama-tied-mqa",
        _spec("llama", 2, 4, 1, 64, tied_output=True, ropes=(RopeTable(_frequencies(64, 5e5)),)),
        {"rope.freq_base": 5e5},
    )
    yield Case(
        "llama-bias",
        _spec("llama", 2, 8, 2, 32, qkv_bias=True, output_bias=True),
        {},
    )
    yield Case(
        "llama-linear",
        _spec("llama", 2, 8, 2, 32, ropes=(RopeTable(_frequencies(32, 1e4, 4.0)),)),
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    )
    yield Case(
        "llama-yarn",
        _spec("llama", 2, 4, 2, 64, ropes=(_yarn(64, 1e4, 4.0, 128),)),
        {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 128,
        },
    )
    factors = np.array([1.0] * 5 + [1.5, 2.0, 3.0, 5.0] + [8.0] * 7, dtype=np.float32)
    yield Case(
        "llama3",
        _spec("llama", 2, 8, 2, 32, ropes=(RopeTable(_frequencies(32, 5e5, factors)),)),
        {"rope.freq_base": 5e5},
        rope_tensors={"rope_freqs": factors},
    )


def _qwen_cases() -> Iterator[Case]:
    yield Case(
        "qwen2",
        _spec(
            "qwen2",
            2,
            8,
            2,
            32,
            qkv_bias=True,
            rope_style="halves",
            ropes=(RopeTable(_frequencies(32, 1e6)),),
        ),
        {"rope.freq_base": 1e6},
    )
    qwen3: dict[str, Any] = {
        "qk_norm": "head",
        "rope_style": "halves",
        "ropes": (RopeTable(_frequencies(64, 1e6)),),
    }
    lengths = {"rope.freq_base": 1e6, "attention.key_length": 64, "attention.value_length": 64}
    yield Case("qwen3", _spec("qwen3", 2, 8, 2, 64, tied_output=True, **qwen3), lengths)
    yield Case(
        "qwen3moe",
        _spec(
            "qwen3moe",
            2,
            4,
            2,
            64,
            **qwen3,
            n_experts=8,
            n_experts_used=4,
            n_ff_expert=256,
            expert_weights_norm=True,
        ),
        lengths | {"expert_count": 8, "expert_used_count": 4, "expert_feed_forward_length": 256},
    )


def _gemma_cases() -> Iterator[Case]:
    gemma: dict[str, Any] = {
        "post_norm": True,
        "tied_output": True,
        "activation": "gelu",
        "rope_style": "halves",
        "embedding_scale": 16.0,
    }
    lengths = {"attention.key_length": 64, "attention.value_length": 64}
    style: dict[str, Any] = {
        "vocabulary": "llama",
        "embedding_std": 0.06,
        "post_norm_mean": 1.5,
        "output_norm_mean": 2.0,
    }
    yield Case(
        "gemma2",
        _spec(
            "gemma2", 3, 4, 2, 64, **gemma, layer_window=(48, 0, 48), attention_softcap=4.0, logit_softcap=8.0
        ),
        lengths
        | {
            "attention.sliding_window": 48,
            "attn_logit_softcapping": 4.0,
            "final_logit_softcapping": 8.0,
        },
        **style,
    )
    ropes = (RopeTable(_frequencies(64, 1e6, 8.0)), RopeTable(_frequencies(64, 1e4)))
    yield Case(
        "gemma3",
        _spec(
            "gemma3",
            7,
            4,
            1,
            64,
            **gemma,
            qk_norm="head",
            ropes=ropes,
            layer_rope=(1, 1, 1, 1, 1, 0, 1),
            layer_window=(32, 32, 32, 32, 32, 0, 32),
        ),
        lengths
        | {
            "attention.sliding_window": 32,
            "rope.freq_base": 1e6,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
        },
        **style,
    )


def _phi3_cases() -> Iterator[Case]:
    phi3: dict[str, Any] = {"fused_qkv": True, "fused_gate_up": True, "rope_style": "halves"}
    long = 1.0 + np.arange(24, dtype=np.float32) / 4
    short = 1.0 + np.arange(24, dtype=np.float32) / 64
    for name, original, factors in (("phi3", 128, long), ("phi3-short", 512, short)):
        table = RopeTable(_frequencies(48, 1e4, factors), 1.19)
        yield Case(
            name,
            _spec("phi3", 2, 4, 2, 64, **phi3, ropes=(table,)),
            {
                "rope.dimension_count": 48,
                "rope.scaling.original_context_length": original,
                "rope.scaling.attn_factor": 1.19,
            },
            vocabulary="llama",
            rope_tensors={"rope_factors_long": long, "rope_factors_short": short},
        )
    yield Case(
        "phi3-plain",
        _spec("phi3", 2, 8, 8, 32, **phi3),
        {"rope.dimension_count": 32, "attention.sliding_window": 48},
        vocabulary="llama",
    )


def _other_cases() -> Iterator[Case]:
    olmo2: dict[str, Any] = {
        "pre_norm": False,
        "post_norm": True,
        "qk_norm": "row",
        "rope_style": "halves",
    }
    plain = RopeTable(_frequencies(32, 5e5))
    yield Case("olmo2", _spec("olmo2", 2, 8, 2, 32, **olmo2, ropes=(plain,)), {"rope.freq_base": 5e5})
    yield Case(
        "olmo2-windows",
        _spec(
            "olmo2",
            5,
            8,
            8,
            32,
            **olmo2,
            ropes=(_yarn(32, 5e5, 4.0, 128), plain),
            layer_rope=(1, 1, 1, 0, 1),
            layer_window=(40, 40, 40, 0, 40),
        ),
        {
            "rope.freq_base": 5e5,
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 128,
            "attention.sliding_window": 40,
        },
    )
    yield Case(
        "granite",
        _spec(
            "granite",
            2,
            8,
            2,
            32,
            tied_output=True,
            attention_scale=0.125,
            embedding_scale=3.0,
            residual_scale=0.5,
            logit_scale=0.5,
        ),
        {"attention.scale": 0.125, "embedding_scale": 3.0, "residual_scale": 0.5, "logit_scale": 2.0},
        output_norm_mean=4.0,
        embedding_std=0.05,
    )
    yield Case(
        "smollm3",
        _spec(
            "smollm3",
            5,
            4,
            2,
            64,
            tied_output=True,
            ropes=(RopeTable(_frequencies(64, 5e6)),),
            layer_rope=(0, 0, 0, -1, 0),
        ),
        {"rope.freq_base": 5e6},
        embedding_std=0.13,
    )


CASES: dict[str, Case] = {
    case.name: case
    for cases in (_llama_cases, _qwen_cases, _gemma_cases, _phi3_cases, _other_cases)
    for case in cases()
}


def _embedders() -> Iterator[Case]:
    """qwen3 as an embedding model, by each of llama.cpp's poolings."""
    qwen3 = CASES["qwen3"]
    poolings: tuple[Pooling, ...] = ("mean", "cls", "last")
    for number, pooling in enumerate(poolings, start=1):
        spec = replace(qwen3.spec, pooling=pooling)
        yield Case(f"qwen3-{pooling}", spec, {**qwen3.metadata, "pooling_type": number})


EMBEDDERS: dict[str, Case] = {case.name: case for case in _embedders()}

# one case of every architecture: these get every tensor type
ARCHITECTURES: tuple[str, ...] = (
    *("llama", "qwen2", "qwen3", "qwen3moe", "gemma2", "gemma3", "phi3", "olmo2", "granite", "smollm3"),
)
