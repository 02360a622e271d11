"""Real vocabularies against ids that llama.cpp gives."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from goldens import tokenizers
from vocabularies import VOCABULARIES, load, needs_vocabularies, vocabulary_path

from edgeinfer.text.pretokenize import pretokenizer, pretokenizer_names
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


@pytest.mark.parametrize("name", VOCABULARIES)
def test_no_text_has_fewer_tokens_than_its_length_says(name: str) -> None:
    known, texts = tokenizer(name), [text for text, _ in examples(name)]
    spaced = "".join(
        f"{known.token_text(i)}{' ' * 500}" for i in sorted(known.special_ids)[:9]
    )  # Phi-3's swallow
    for text in [*texts, "".join(texts), *(text * 50 for text in texts), " " * 3000, spaced, "\u0f3a" * 500]:
        assert known.least_tokens([text]) <= len(known.encode(text, add_special=False, parse_special=True))


@pytest.mark.parametrize("name", [name for name in VOCABULARIES if name != "bert-bge"])
def test_decoding_gives_back_every_example_line(name: str) -> None:
    for text, ids in examples(name):
        assert tokenizer(name).decode(ids) == text


@pytest.mark.parametrize("name", VOCABULARIES)
def test_random_unicode_has_the_ids_of_llama_cpp(name: str) -> None:
    compare(tokenizer(name), name)


@pytest.mark.parametrize("pre", pretokenizer_names())
def test_every_pretokenizer_cuts_random_unicode_as_llama_cpp_does(pre: str, tmp_path: Path) -> None:
    same = next(name for name in pretokenizer_names() if pretokenizer(name) == pretokenizer(pre))
    compare(load(tokenizers.with_pretokenizer(tmp_path / "m.gguf", pre)), f"pre {same}")


def compare(mine: Tokenizer, golden: str) -> None:
    strings, digests = tokenizers.kept()
    for text, expected in zip(strings, digests[golden], strict=True):
        ids = [mine.encode(text, True, special) for special in (False, True)]
        assert tokenizers.digest(ids) == expected, ascii(text)
