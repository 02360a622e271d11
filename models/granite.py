"""Granite 3: Llama with four scales, for embeddings, residuals, attention and logits."""

from __future__ import annotations

from edgeinfer.models.family import decoder
from edgeinfer.models.metadata import Metadata
from edgeinfer.models.spec import DecoderSpec


def build(meta: Metadata) -> DecoderSpec:
    """The spec of a granite file."""
    if meta.count("expert_count", 0, least=0):
        raise meta.unsupported("granite with experts")
    plain = decoder(meta)
    rotates = meta.flag("rope.scaling.finetuned", True)  # in granite, the switch between positions and none
    return decoder(
        meta,
        layer_rope=(0 if rotates else -1,) * plain.n_layers,
        attention_scale=meta.optional("attention.scale") or plain.attention_scale,
        embedding_scale=meta.optional("embedding_scale") or 1.0,
        residual_scale=meta.optional("residual_scale") or 1.0,
        logit_scale=1.0 / meta.number("logit_scale"),
    )
