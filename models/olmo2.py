"""OLMo 2 and 3: norms only after each part, query and key norms over the whole row; OLMo 3 adds windows in
three of four layers, whose rope is never stretched.
"""

from __future__ import annotations

from edgeinfer.models.family import decoder, windows
from edgeinfer.models.metadata import Metadata
from edgeinfer.models.rope import frequencies, n_rotated, rope_base, rope_table
from edgeinfer.models.spec import DecoderSpec, RopeTable


def build(meta: Metadata) -> DecoderSpec:
    """The spec of an olmo2 file."""
    plain = decoder(meta, ropes=())
    window = windows(meta, plain.n_layers, every=4)
    ropes = [rope_table(meta, plain.head_dim)]
    if any(window):
        ropes.append(RopeTable(frequencies(n_rotated(meta, plain.head_dim), rope_base(meta))))
    return decoder(
        meta,
        pre_norm=False,
        post_norm=True,
        qk_norm="row",
        rope_style="halves",
        ropes=tuple(ropes),
        layer_rope=tuple(1 if size else 0 for size in window),
        layer_window=window,
    )
