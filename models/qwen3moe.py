"""Qwen3 with experts: a router chooses the top k by softmax, their weights scaled to sum to 1."""

from __future__ import annotations

from edgeinfer.models.family import decoder, experts
from edgeinfer.models.metadata import Metadata
from edgeinfer.models.spec import DecoderSpec


def build(meta: Metadata) -> DecoderSpec:
    """The spec of a qwen3moe file."""
    n_ff = meta.count("expert_feed_forward_length", 0, least=0)
    n_ff = n_ff or max(1, meta.count("feed_forward_length") // meta.count("expert_used_count"))
    return decoder(meta, rope_style="halves", qk_norm="head", **experts(meta, n_ff_expert=n_ff))
