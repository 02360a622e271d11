"""Gemma 3: like Gemma 2 with query and key norms instead of soft caps, five of six layers windowed, and
another rope base in those.
"""

from __future__ import annotations

from edgeinfer.models import gemma2
from edgeinfer.models.family import decoder, windows
from edgeinfer.models.metadata import Metadata
from edgeinfer.models.rope import frequencies, n_rotated, rope_base, rope_table
from edgeinfer.models.spec import DecoderSpec, RopeTable

_N_LAYERS_27B = 62


def build(meta: Metadata) -> DecoderSpec:
    """The spec of a gemma3 file."""
    plain = decoder(meta, ropes=())
    window = windows(meta, plain.n_layers, every=6)
    local = frequencies(n_rotated(meta, plain.head_dim), rope_base(meta, "rope.freq_base_swa"))
    return decoder(
        meta,
        **gemma2.traits(meta, n_layers_27b=_N_LAYERS_27B),
        qk_norm="head",
        layer_window=window,
        ropes=(rope_table(meta, plain.head_dim), RopeTable(local)),
        layer_rope=tuple(1 if size else 0 for size in window),
        logit_softcap=meta.optional("final_logit_softcapping"),
    )
