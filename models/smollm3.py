"""SmolLM3: Llama whose every fourth layer has no positions."""

from __future__ import annotations

from edgeinfer.models.family import decoder
from edgeinfer.models.metadata import Metadata
from edgeinfer.models.spec import DecoderSpec

_NO_ROPE_EVERY = 4


def build(meta: Metadata) -> DecoderSpec:
    """The spec of a smollm3 file."""
    n_layers = meta.n_layers()
    ropes = tuple(-1 if (i + 1) % _NO_ROPE_EVERY == 0 else 0 for i in range(n_layers))
    return decoder(meta, layer_rope=ropes)
