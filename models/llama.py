"""Llama 1 to 3.x, and what is built like it: Mistral, TinyLlama, SmolLM2, Yi; Mixtral with its experts.

Linear, YaRN and Llama 3 scaling (tensor `rope_freqs`) come with the rope table. Mistral's first sliding
window is not in its files and not used, as elsewhere.
"""

from __future__ import annotations

from edgeinfer.models.family import decoder, experts
from edgeinfer.models.metadata import Metadata
from edgeinfer.models.spec import DecoderSpec


def build(meta: Metadata) -> DecoderSpec:
    """The spec of a llama file."""
    if meta.count("expert_count", 0, least=0) == 0:
        return decoder(meta)
    return decoder(meta, **experts(meta, n_ff_expert=meta.count("feed_forward_length")))
