"""Gemma 2: norms before and after each part, every second layer windowed, soft caps, GELU, tied head.

The +1 of Gemma's norm weights is already in the file (the converter adds it).
"""

from __future__ import annotations

from typing import Any

from edgeinfer.models.family import decoder, windows
from edgeinfer.models.metadata import Metadata
from edgeinfer.models.spec import DecoderSpec

_N_LAYERS_27B = 46  # the one size whose attention is scaled by n_embd / n_heads


def build(meta: Metadata) -> DecoderSpec:
    """The spec of a gemma2 file."""
    n_layers = meta.n_layers()
    return decoder(
        meta,
        **traits(meta, n_layers_27b=_N_LAYERS_27B),
        layer_window=windows(meta, n_layers, every=2, default=4096),
        attention_softcap=meta.number("attn_logit_softcapping", 50.0),
        logit_softcap=meta.number("final_logit_softcapping", 30.0),
    )


def traits(meta: Metadata, *, n_layers_27b: int) -> dict[str, Any]:
    """What Gemma 2 and 3 have in common."""
    n_embd = meta.count("embedding_length")
    found: dict[str, Any] = {
        "post_norm": True,
        "activation": "gelu",
        "rope_style": "halves",
        "embedding_scale": n_embd**0.5,
    }
    if meta.n_layers() == n_layers_27b:
        found["attention_scale"] = (n_embd // meta.count("attention.head_count")) ** -0.5
    return found
