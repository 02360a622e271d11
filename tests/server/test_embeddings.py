"""Vectors over the port, as the clients of OpenAI and Ollama ask for them."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import ollama
import openai
import pytest
from serving import Served

TEXTS = ["one of the words", "that we know", "éé"]
LONG = "word " * 300


@pytest.fixture
def client(served_embedder: Served) -> openai.OpenAI:
    return served_embedder.client()


@pytest.fixture
def ollama_client(served_embedder: Served) -> Iterator[ollama.Client]:
    with ollama.Client(f"http://127.0.0.1:{served_embedder.port}") as client:
        yield client


def vectors(answer: openai.types.CreateEmbeddingResponse) -> np.ndarray:
    assert [entry.index for entry in answer.data] == list(range(len(answer.data)))
    return np.array([entry.embedding for entry in answer.data], dtype=np.float32)


@pytest.mark.parametrize("format", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_openais_client_gets_the_vectors(
    served_embedder: Served, client: openai.OpenAI, format: dict[str, Any]
) -> None:
    expected = served_embedder.model.embed(TEXTS)
    answer = client.embeddings.create(model="embedder", input=TEXTS, **format)
    if format.get("encoding_format") == "base64":  # asked for by name it is left as it came
        raw = [np.frombuffer(base64.b64decode(e.embedding), "<f4") for e in answer.data]
        np.testing.assert_array_equal(raw, expected)
    else:
        np.testing.assert_array_equal(vectors(answer), expected)
    n = sum(len(served_embedder.model.tokenizer.encode(text)) for text in TEXTS)
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == ("embedder", n, n)


def test_texts_and_tokens_one_or_several(served_embedder: Served, client: openai.OpenAI) -> None:
    expected = served_embedder.model.embed(TEXTS)
    ids = [served_embedder.model.tokenizer.encode(text) for text in TEXTS]
    asked: Any
    for asked, rows in ((TEXTS[0], 1), (ids[0], 1), (ids, 3), (TEXTS, 3)):
        answer = client.embeddings.create(model="embedder", input=asked)
        np.testing.assert_array_equal(vectors(answer), expected[:rows])
    fewer = client.embeddings.create(model="embedder", input=TEXTS, dimensions=16)
    np.testing.assert_array_equal(vectors(fewer), served_embedder.model.embed(TEXTS, dimensions=16))


WRONG: list[tuple[Any, str, str | None]] = [
    ({"input": []}, "from 1 to 2048 texts, not 0", None),
    ({"input": ["x"] * 2049}, "from 1 to 2048 texts, not 2049", None),
    ({"input": ""}, "input: is empty", None),
    ({"input": ["x", ""]}, r"input\[1\]: is empty", None),
    ({"input": [[1], []]}, r"input\[1\]: is empty", None),
    ({"input": 5}, "input", None),
    ({"input": [10**6]}, "outside the vocabulary", None),
    ({"input": "x", "dimensions": 257}, "from 1 to 256", None),
    ({"input": ["x", LONG]}, "length is 256", "context_length_exceeded"),
    ({"input": "x", "encoding_format": "hex"}, "encoding_format", None),
]


@pytest.mark.parametrize(("wrong", "match", "code"), WRONG)
def test_a_wrong_request_is_refused(
    client: openai.OpenAI, wrong: dict[str, Any], match: str, code: str | None
) -> None:
    with pytest.raises(openai.BadRequestError, match=match) as refused:
        client.embeddings.create(model="embedder", **wrong)
    assert code is None or refused.value.code == code


def test_a_model_of_the_other_kind_is_refused(served: Served, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="not an embedding model"):
        served.client().embeddings.create(model="random", input="x")
    with pytest.raises(openai.BadRequestError, match="is an embedding model"):
        client.completions.create(model="embedder", prompt="x")


def test_ollamas_client_gets_the_vectors(served_embedder: Served, ollama_client: ollama.Client) -> None:
    expected = served_embedder.model.embed(TEXTS)
    answer = ollama_client.embed("embedder", TEXTS)
    np.testing.assert_array_equal(np.array(answer.embeddings, np.float32), expected)
    n = sum(len(served_embedder.model.tokenizer.encode(text)) for text in TEXTS)
    assert answer.prompt_eval_count == n
    one = ollama_client.embed("embedder", TEXTS[0], dimensions=16, keep_alive="5m")
    first = served_embedder.model.embed(TEXTS[0], dimensions=16)
    np.testing.assert_array_equal(np.array(one.embeddings, np.float32), first)
    older = ollama_client.embeddings("embedder", TEXTS[1])
    np.testing.assert_array_equal(np.array(older.embedding, np.float32), expected[1])
    assert ollama_client.embed("embedder", "").embeddings == []
    assert ollama_client.embeddings("embedder").embedding == []


def test_ollama_cuts_only_if_it_is_told_to(served_embedder: Served, ollama_client: ollama.Client) -> None:
    for truncate in (None, False):
        with pytest.raises(ollama.ResponseError, match="length is 256"):
            ollama_client.embed("embedder", LONG, truncate=truncate)
    ids = served_embedder.model.tokenizer.encode(LONG)
    for options, n in ((None, 256), ({"num_ctx": 40}, 40)):
        answer = ollama_client.embed("embedder", LONG, truncate=True, options=options)
        expected = served_embedder.model.embed([ids[:n]])
        np.testing.assert_array_equal(np.array(answer.embeddings, np.float32), expected)


def test_a_client_that_leaves_ends_what_it_asked_for(served_embedder: Served) -> None:
    model = served_embedder.model
    connection = http.client.HTTPConnection("127.0.0.1", served_embedder.port)
    connection.request("POST", "/v1/embeddings", json.dumps({"input": ["word " * 120] * 2000}))
    while model.stats().n_running == 0:
        time.sleep(0.001)
    connection.close()
    end = time.monotonic() + 20
    while (model.stats().n_running or model.stats().n_waiting) and time.monotonic() < end:
        time.sleep(0.01)
    assert model.stats().n_ended.get("cancelled", 0) > 0
