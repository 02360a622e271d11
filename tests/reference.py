"""A slow and obvious forward pass in float64: what `DecoderSpec` means, written once more in numpy.

It reads tensors through gguf-py, shares no code with the engine, and agrees with llama.cpp on every
architecture (tests/goldens). Use it as the oracle where llama.cpp is absent.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from edgeinfer.models.spec import N_SINKS, DecoderSpec
from gguf import GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray

Array = NDArray[np.float64]


def read_tensors(path: Path) -> dict[str, Array]:
    """Every tensor of a GGUF, decoded to float64, rows last."""
    tensors = {}
    for tensor in GGUFReader(path).tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))
        tensors[tensor.name] = dequantize(tensor.data, tensor.tensor_type).astype(np.float64).reshape(shape)
    return tensors


def logits(spec: DecoderSpec, tensors: dict[str, Array], ids: list[int]) -> Array:
    """Logits after every token: (len(ids), n_vocab)."""
    x = tensors["token_embd.weight"][ids] * spec.embedding_scale
    for i_layer in range(spec.n_layers):
        layer = {
            name.split(".", 2)[2]: t for name, t in tensors.items() if name.startswith(f"blk.{i_layer}.")
        }
        for before, part, after in (
            ("attn_norm.weight", _attention, "post_attention_norm.weight"),
            ("ffn_norm.weight", _feed_forward, "post_ffw_norm.weight"),
        ):
            h = _norm(spec, x, layer[before]) if spec.pre_norm else x
            h = part(spec, layer, i_layer, h)
            h = _norm(spec, h, layer[after]) if spec.post_norm else h
            x = x + h * spec.residual_scale
    head = tensors["token_embd.weight" if spec.tied_output else "output.weight"]
    return _cap(_norm(spec, x, tensors["output_norm.weight"]) @ head.T * spec.logit_scale, spec.logit_softcap)


def _norm(spec: DecoderSpec, x: Array, weight: Array) -> Array:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + spec.norm_eps) * weight


def _cap(x: Array, cap: float) -> Array:
    return cap * np.tanh(x / cap) if cap else x


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _attention(spec: DecoderSpec, layer: dict[str, Array], i_layer: int, x: Array) -> Array:
    n, group = len(x), spec.n_heads // spec.n_kv_heads
    q, k, v = _project(spec, layer, x)
    k, v = (np.repeat(part, group, axis=1) for part in (k, v))
    if spec.kv_window and not spec.layer_window[i_layer]:
        out = np.stack([_attend_with_sinks(spec, i_layer, q[: i + 1], k, v) for i in range(n)])
    else:
        q, k = (_turn(spec, i_layer, part, np.arange(n)) for part in (q, k))
        ago = np.arange(n)[:, None] - np.arange(n)[None, :]
        hidden = (ago < 0) | ((ago >= spec.layer_window[i_layer]) & (spec.layer_window[i_layer] > 0))
        out = _attend(spec, q, k, v, hidden)
    out = out.reshape(n, -1) @ layer["attn_output.weight"].T
    return out + layer["attn_output.bias"] if spec.output_bias else out


def _attend(spec: DecoderSpec, q: Array, k: Array, v: Array, hidden: NDArray[np.bool_]) -> Array:
    scores = _cap(np.einsum("qhd,khd->hqk", q, k) * spec.attention_scale, spec.attention_softcap)
    return np.einsum("hqk,khd->qhd", _softmax(np.where(hidden, -np.inf, scores)), v)


def _attend_with_sinks(spec: DecoderSpec, i_layer: int, q: Array, k: Array, v: Array) -> Array:
    """The last of these queries, as StreamingLLM has it: the cache holds the first and the last tokens, and
    positions are places in the cache. Nothing is rotated before it is there.
    """
    kept = [t for t in range(len(q)) if t < N_SINKS or t >= len(q) - spec.kv_window]
    places = np.arange(len(kept))
    query = _turn(spec, i_layer, q[-1:], places[-1:])
    keys = _turn(spec, i_layer, k[kept], places)
    return _attend(spec, query, keys, v[kept], np.zeros((1, len(kept)), bool))[0]


def _project(spec: DecoderSpec, layer: dict[str, Array], x: Array) -> list[Array]:
    """Queries, keys and values: (n, heads, head_dim) each."""
    widths = np.array([spec.n_heads, spec.n_kv_heads, spec.n_kv_heads]) * spec.head_dim
    if spec.fused_qkv:
        parts = np.split(x @ layer["attn_qkv.weight"].T, np.cumsum(widths)[:2], axis=-1)
    else:
        parts = [x @ layer[f"attn_{p}.weight"].T for p in "qkv"]
    if spec.qkv_bias:
        parts = [part + layer[f"attn_{p}.bias"] for p, part in zip("qkv", parts, strict=True)]
    if spec.qk_norm == "row":
        parts[:2] = [
            _norm(spec, part, layer[f"attn_{p}_norm.weight"]) for p, part in zip("qk", parts, strict=False)
        ]
    parts = [part.reshape(len(x), -1, spec.head_dim) for part in parts]
    if spec.qk_norm == "head":
        parts[:2] = [
            _norm(spec, part, layer[f"attn_{p}_norm.weight"]) for p, part in zip("qk", parts, strict=False)
        ]
    return parts


def _turn(spec: DecoderSpec, i_layer: int, x: Array, positions: NDArray[np.int64]) -> Array:
    """Rotary embedding of queries or keys at these positions, if the layer has one."""
    if spec.layer_rope[i_layer] < 0:
        return x
    table = spec.ropes[spec.layer_rope[i_layer]]
    n_rot = 2 * len(table.frequencies)
    angles = positions[:, None, None] * np.array(table.frequencies)
    cos, sin = np.cos(angles) * table.magnitude, np.sin(angles) * table.magnitude
    first = np.arange(0, n_rot, 2) if spec.rope_style == "adjacent" else np.arange(n_rot // 2)
    second = first + (1 if spec.rope_style == "adjacent" else n_rot // 2)
    out = x.copy()
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., first] * sin + x[..., second] * cos
    return out


def _feed_forward(spec: DecoderSpec, layer: dict[str, Array], i_layer: int, x: Array) -> Array:
    if spec.n_experts:
        return _experts(spec, layer, x)
    if spec.fused_gate_up:
        gate, up = np.split(x @ layer["ffn_up.weight"].T, 2, axis=-1)
    else:
        gate, up = x @ layer["ffn_gate.weight"].T, x @ layer["ffn_up.weight"].T
    return (_activate(spec, gate) * up) @ layer["ffn_down.weight"].T


def _activate(spec: DecoderSpec, x: Array) -> Array:
    if spec.activation == "silu":
        return x / (1 + np.exp(-x))
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _experts(spec: DecoderSpec, layer: dict[str, Array], x: Array) -> Array:
    chances = _softmax(x @ layer["ffn_gate_inp.weight"].T)
    out = np.zeros_like(x)
    for i_token, row in enumerate(x):
        chosen = np.argsort(-chances[i_token], kind="stable")[: spec.n_experts_used]
        weights = chances[i_token, chosen]
        if spec.expert_weights_norm:
            weights = weights / weights.sum()
        for weight, expert in zip(weights * spec.expert_weights_scale, chosen, strict=True):
            gate, up = (layer[f"ffn_{name}_exps.weight"][expert] @ row for name in ("gate", "up"))
            out[i_token] += weight * (layer["ffn_down_exps.weight"][expert] @ (_activate(spec, gate) * up))
    return out
