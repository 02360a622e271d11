"""Qwen3: an RMS norm over each head of queries and keys, rotation by halves, no biases."""

from __future__ import annotations

from edgeinfer.models.family import decoder
from edgeinfer.models.metadata import Metadata
from edgeinfer.models.spec import DecoderSpec


def build(meta: Metadata) -> DecoderSpec:
    """The spec of a qwen3 file."""
    return decoder(meta, rope_style="halves", qk_norm="head")
