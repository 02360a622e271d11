"""Models on this machine, whoever fetched them: they run where they lie, nothing is copied."""

from __future__ import annotations

from edgeinfer.hub.store import huggingface, llama_cpp, lm_studio, ollama, own
from edgeinfer.hub.store.model import LocalModel

__all__ = ["LocalModel", "found_models", "local_models"]


def local_models() -> list[LocalModel]:
    """All models that can be run by name, ours first; 1 ms a model, for its header is read.

    A file that is damaged, not yet complete or lacks a shard is none.
    """
    return [model for model in found_models() if model.is_sound()]


def found_models() -> list[LocalModel]:
    """The same without a look into the files: some may be damaged."""
    stores = (own, huggingface, lm_studio, llama_cpp, ollama)
    return [model for store in stores for model in store.models()]
