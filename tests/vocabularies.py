"""Where the tests find vocabularies, and how they write small ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter

from edgeinfer import _native
from edgeinfer.text.tokenizer import Tokenizer

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
TOKENIZERS = SHARED / "tokenizers"
TEMPLATES = SHARED / "chat_templates"
VOCABULARIES = ("bert-bge", "deepseek-llm", "gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2")

needs_vocabularies = pytest.mark.skipif(not TOKENIZERS.is_dir(), reason=f"needs {TOKENIZERS}")
needs_templates = pytest.mark.skipif(not TEMPLATES.is_dir(), reason=f"needs {TEMPLATES}")


def vocabulary_path(name: str) -> Path:
    return TOKENIZERS / f"ggml-vocab-{name}.gguf"


def load(path: Path) -> Tokenizer:
    return Tokenizer.from_gguf(_native.gguf_open(str(path)))


def write_vocabulary(
    path: Path,
    model: str,
    tokens: Iterable[str | bytes],
    *,
    merges: list[str] | None = None,
    scores: list[float] | None = None,
    types: list[int] | None = None,
    **keys: Any,
) -> Path:
    """A GGUF file with nothing but a tokenizer; `keys` are further `tokenizer.ggml.*` values."""
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(list(tokens))
    if merges is not None:
        writer.add_token_merges(merges)
    if scores is not None:
        writer.add_token_scores(scores)
    if types is not None:
        writer.add_token_types(types)
    for key, value in keys.items():
        name = f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, int):
            writer.add_uint32(name, value)
        else:
            writer.add_string(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path
