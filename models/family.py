"""What all families have in common: sizes, heads, rope, and which optional tensors are there."""

from __future__ import annotations

from typing import Any

from edgeinfer.models.metadata import Metadata
from edgeinfer.models.rope import rope_table
from edgeinfer.models.spec import DecoderSpec, Pooling

_POOLINGS: tuple[Pooling, ...] = ("none", "mean", "cls", "last")  # by llama.cpp's number
_MOST_HEADS, _MOST_HEAD_DIM, _MOST_EXPERTS = 4096, 1024, 1024  # products of them fit 32 bits


def decoder(meta: Metadata, **traits: Any) -> DecoderSpec:
    """A spec from the keys that every family has; `traits` are fields of DecoderSpec that differ.

    Raises:
        BadModelFile: a key is missing, impossible, or contradicts another.
        UnsupportedModel: a key asks for something that the decoder does not have.
    """
    if not meta.flag("attention.causal", True):
        raise meta.unsupported("attention to later tokens")
    n_layers, head_dim = meta.n_layers(), _head_dim(meta)
    fields: dict[str, Any] = {
        "architecture": meta.architecture,
        "n_layers": n_layers,
        "n_embd": meta.count("embedding_length"),
        "n_vocab": _n_vocab(meta),
        "n_ctx_train": meta.count("context_length"),
        "n_heads": _n_heads(meta),
        "n_kv_heads": _n_kv_heads(meta),
        "head_dim": head_dim,
        "n_ff": meta.count("feed_forward_length"),
        "norm_eps": meta.number("attention.layer_norm_rms_epsilon", most=0.1),
        "qkv_bias": meta.has_tensor("blk.0.attn_q.bias"),
        "output_bias": meta.has_tensor("blk.0.attn_output.bias"),
        "tied_output": not meta.has_tensor("output.weight"),
        "layer_rope": (0,) * n_layers,
        "layer_window": (0,) * n_layers,
        "attention_scale": head_dim**-0.5,
        "pooling": _pooling(meta),
    }
    if "ropes" not in traits:
        fields["ropes"] = (rope_table(meta, head_dim),)
    return DecoderSpec(**(fields | traits))


def windows(meta: Metadata, n_layers: int, *, every: int, default: int | None = None) -> tuple[int, ...]:
    """The window of each layer: all but every n-th look at the last few tokens only; 0: at all."""
    size = meta.count("attention.sliding_window", 0 if default is None else default, least=0)
    flags = meta.pattern("attention.sliding_window_pattern", every, n_layers)
    return tuple(size if flag else 0 for flag in flags)


def experts(meta: Metadata, n_ff_expert: int) -> dict[str, Any]:
    """Fields for experts chosen by the softmax of a router, their weights scaled to sum to 1."""
    n_experts, n_used = meta.count("expert_count", most=_MOST_EXPERTS), meta.count("expert_used_count")
    if n_used > n_experts:
        raise meta.bad(f"{n_used} of {n_experts} experts are to be used")
    return {
        "n_experts": n_experts,
        "n_experts_used": n_used,
        "n_ff_expert": n_ff_expert,
        "expert_weights_norm": True,
        "expert_weights_scale": meta.optional("expert_weights_scale") or 1.0,
    }


def _pooling(meta: Metadata) -> Pooling:
    number = meta.count("pooling_type", 0, least=0)
    if number >= len(_POOLINGS):
        raise meta.unsupported(f"pooling of type {number}")
    return _POOLINGS[number]


def _head_dim(meta: Metadata) -> int:
    n_embd, n_heads = meta.count("embedding_length"), _n_heads(meta)
    if n_embd % n_heads and not meta.has("attention.key_length"):
        raise meta.bad(f"{n_heads} heads cannot share an embedding_length of {n_embd}")
    keys = meta.count("attention.key_length", n_embd // n_heads, most=_MOST_HEAD_DIM)
    values = meta.count("attention.value_length", n_embd // n_heads, most=_MOST_HEAD_DIM)
    if keys != values:
        raise meta.unsupported(f"keys of {keys} beside values of {values} dimensions")
    return keys


def _n_heads(meta: Metadata) -> int:
    return meta.count("attention.head_count", most=_MOST_HEADS)


def _n_kv_heads(meta: Metadata) -> int:
    n_heads = _n_heads(meta)
    n_kv_heads = meta.count("attention.head_count_kv", n_heads)
    if n_heads % n_kv_heads:
        raise meta.bad(f"{n_heads} heads cannot share {n_kv_heads} key-value heads")
    return n_kv_heads


def _n_vocab(meta: Metadata) -> int:
    n_rows, n_tokens = meta.n_rows("token_embd.weight"), meta.n_tokens()
    if n_tokens and n_rows != n_tokens:
        raise meta.bad(f"token_embd.weight has {n_rows} rows for a vocabulary of {n_tokens} tokens")
    return n_rows
