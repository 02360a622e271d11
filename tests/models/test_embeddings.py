"""Embedding models: the vectors are llama.cpp's, and bit for bit the same whatever else is computed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from goldens import read

import edgeinfer
from edgeinfer.errors import ContextLengthExceeded, InvalidRequest, TimedOut, WrongModelKind

TEXTS = ["one of the words", "that we know", "éé", *(f"text {i} " * (1 + i % 7) for i in range(20))]


@pytest.fixture(params=tiny.EMBEDDERS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tiny.write_gguf(tmp_path / "embedder.gguf", request.param, "Q8_0")


@pytest.fixture
def model(embedding_model: Path) -> Iterator[edgeinfer.Model]:
    with edgeinfer.load(embedding_model, threads=2, context_length=256) as loaded:
        yield loaded


@pytest.mark.parametrize("case", tiny.EMBEDDERS)
@pytest.mark.parametrize("tensor_type", read.EMBEDDING_TYPES)
def test_vectors_are_those_of_llama_cpp(case: str, tensor_type: str, tmp_path: Path) -> None:
    path = tiny.write_gguf(tmp_path / "model.gguf", case, tensor_type)
    with edgeinfer.load(path, threads=2, context_length=read.N_CTX) as model:
        ours = model.embed(read.embedding_texts())
    theirs = read.embeddings(case, tensor_type)
    cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(theirs, axis=1)
    print(f"cosine {cosines.min():.6f}")
    assert cosines.min() > (0.99999 if tensor_type == "F16" else 0.999)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)


def test_a_vector_is_the_same_alone_and_among_many(path: Path) -> None:
    texts = [text * n for text in TEXTS for n in (1, 9)]
    with edgeinfer.load(path, threads=2, context_length=512) as model:
        together = model.embed(texts)
    with edgeinfer.load(path, threads=1, context_length=512, kv_type="f16") as model:
        alone = [model.embed(text)[0] for text in texts]
    np.testing.assert_array_equal(together, alone)


def test_nothing_of_a_text_is_kept_and_a_longer_one_is_not_changed_by_it(model: edgeinfer.Model) -> None:
    longer = TEXTS[0] + " that we know"
    first = model.embed(longer)
    model.embed(TEXTS[0])
    np.testing.assert_array_equal(model.embed(longer), first)
    stats = model.stats()
    assert (stats.n_kept, stats.n_cached) == (0, 0)


def test_the_first_dimensions_have_length_one_again(model: edgeinfer.Model) -> None:
    whole, first = model.embed(TEXTS), model.embed(TEXTS, dimensions=32)
    assert first.shape == (len(TEXTS), 32)
    expected = whole[:, :32] / np.linalg.norm(whole[:, :32], axis=1, keepdims=True)
    np.testing.assert_allclose(first, expected, atol=1e-6)


@pytest.mark.parametrize("dimensions", [0, 257])
def test_other_dimensions_are_refused(model: edgeinfer.Model, dimensions: int) -> None:
    with pytest.raises(InvalidRequest, match="from 1 to 256"):
        model.embed("one", dimensions=dimensions)


def test_texts_and_their_tokens_give_the_same(model: edgeinfer.Model) -> None:
    ids = [model.tokenizer.encode(text) for text in TEXTS]
    np.testing.assert_array_equal(model.embed(ids), model.embed(TEXTS))
    assert model.embed([]).shape == (0, 256)
    some = [ids[i % 3] for i in range(2100)]  # more than are in the queue at once
    np.testing.assert_array_equal(model.embed(some), model.embed(TEXTS[:3])[np.arange(2100) % 3])


def test_a_text_that_is_too_long_is_refused_or_cut_as_asked(model: edgeinfer.Model) -> None:
    text = "word " * 300
    with pytest.raises(ContextLengthExceeded, match="length is 256"):
        model.embed([TEXTS[0], text])
    with pytest.raises(InvalidRequest, match="truncate_to"):
        model.embed(text, truncate_to=0)
    first = model.tokenizer.encode(text)[:100]
    np.testing.assert_array_equal(model.embed(text, truncate_to=100), model.embed([first]))
    full = model.tokenizer.encode(text)[:256]
    assert model.embed([full]).shape == (1, 256)  # nothing is generated: the context may be full


@pytest.mark.parametrize("nothing", [[""], [TEXTS[0], []]])
def test_an_empty_text_is_refused(model: edgeinfer.Model, nothing: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="is empty"):
        model.embed(nothing)


def test_an_embedding_model_answers_nothing_and_others_embed_nothing(
    model: edgeinfer.Model, random_model: Path
) -> None:
    for ask in (model.generate, model.perplexity, lambda text: model.logits([1, 2, 3])):
        with pytest.raises(WrongModelKind, match="is an embedding model"):
            ask("one of the words")
    with edgeinfer.load(random_model) as other, pytest.raises(WrongModelKind, match="not an embedding model"):
        other.embed("one of the words")


def test_what_is_cancelled_or_late_ends_and_leaves_the_others(model: edgeinfer.Model) -> None:
    long = "word " * 100
    texts = [*TEXTS, *[long] * 20]

    async def gather() -> list[Any]:
        futures = model.embeddings(texts)
        futures[-1].cancel()
        waiting = [asyncio.wrap_future(future) for future in futures]
        return await asyncio.gather(*waiting, return_exceptions=True)

    *others, last = asyncio.run(gather())
    assert isinstance(last, asyncio.CancelledError)
    np.testing.assert_array_equal([other.vector for other in others], model.embed(texts[:-1]))
    with pytest.raises(TimedOut):
        model.embed([long] * 200, timeout=0.01)
    assert model.stats().n_running == 0
