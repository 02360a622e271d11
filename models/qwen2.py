"""Qwen2 and Qwen2.5: biases on queries, keys and values (seen from the tensors), rotation by halves."""

from __future__ import annotations

from edgeinfer.models.family import decoder
from edgeinfer.models.metadata import Metadata
from edgeinfer.models.spec import DecoderSpec


def build(meta: Metadata) -> DecoderSpec:
    """The spec of a qwen2 file."""
    return decoder(meta, rope_style="halves")
