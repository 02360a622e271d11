"""Phi-3, 3.5 and Phi-4: fused QKV and gate-up matrices, long-rope factors, partial rotation in Phi-4-mini.

The sliding window of some files is not used, as in llama.cpp: their converters did not fill it reliably.
"""

from __future__ import annotations

from edgeinfer.models.family import decoder
from edgeinfer.models.metadata import Metadata
from edgeinfer.models.spec import DecoderSpec


def build(meta: Metadata) -> DecoderSpec:
    """The spec of a phi3 file."""
    fused = meta.has_tensor("blk.0.attn_qkv.weight")
    return decoder(meta, rope_style="halves", fused_qkv=fused, fused_gate_up=True)
