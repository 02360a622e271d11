"""Real vocabularies against ids that llama.cpp gives."""

from __future__ import annotations

import functools

import pytest
from vocabularies import VOCABULARIES, load, needs_vocabularies, vocabulary_path

from edgeinfer.text.tokenizer import Tokenizer

pytestmark = needs_vocabularies


@functools.cache
def tokenizer(name: str) -> Tokenizer:
    return load(vocabulary_path(name))


def examples(name: str) -> list[tuple[str, list[int]]]:
    """The texts and ids that llama.cpp keeps for its own tests of this vocabulary."""
    path = vocabulary_path(name)
    texts = path.with_name(path.name + ".inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    lines = path.with_name(path.name + ".out").read_text().split("\n")
    return [(text, [int(word) for word in line.split()]) for text, line in zip(texts, lines, strict=True)]


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_example_line_has_the_ids_of_llama_cpp(name: str) -> None:
    for text, ids in examples(name):
        assert tokenizer(name).encode(text, add_special=False) == ids, text


@pytest.mark.parametrize("name", [name for name in VOCABULARIES if name != "bert-bge"])
def test_decoding_gives_back_every_example_line(name: str) -> None:
    for text, ids in examples(name):
        assert tokenizer(name).decode(ids) == text
