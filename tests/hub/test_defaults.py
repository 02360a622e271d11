"""What a model was told once and for all holds where a caller leaves something open, through every door."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stores import in_ollama

import edgeinfer
from edgeinfer import Conversation, Model, Sampling
from edgeinfer.errors import InvalidRequest

TOLD: dict[str, Any] = {
    "system": "Answer with one of the words.",
    "params": {
        "temperature": 1.5,
        "seed": 7,
        "num_predict": 5,
        "num_ctx": 384,
        "num_gpu": 3,
        "stop": ["zzz"],
    },
    "messages": [
        {"role": "user", "content": "first things"},
        {"role": "assistant", "content": "second things"},
    ],
    "template": "{{ .System }} {{ .Prompt }}",
}
SYSTEM = {"role": "system", "content": TOLD["system"]}
ASKED: dict[str, Any] = {"role": "user", "content": "a word"}


@pytest.fixture
def model(home: Path, random_model: Path) -> Iterator[Model]:
    in_ollama(home, "told", random_model, told=TOLD)
    with edgeinfer.load("told", threads=1) as opened:
        yield opened


def ids(model: Model, *asked: Any, **options: Any) -> list[int]:
    return [token.id for token in model.chat(*asked, **options)]


def test_what_ollama_was_told_holds_for_what_a_caller_leaves_open(model: Model, random_model: Path) -> None:
    said = [SYSTEM, *TOLD["messages"], ASKED]
    with edgeinfer.load(random_model, threads=1, context_length=384) as plain:
        expected = ids(plain, said, temperature=1.5, seed=7, max_tokens=5)
        assert model.encode_chat([ASKED]) == plain.encode_chat(said)
        raw = [t.id for t in plain.generate("one of", temperature=1.5, seed=7, max_tokens=5)]
    assert (model.name, model.context_length) == ("told:latest", 384)
    assert ids(model, [ASKED]) == ids(model, Conversation([ASKED])) == expected
    assert [t.id for t in model.generate("one of")] == raw


def test_what_a_caller_says_comes_first(model: Model, random_model: Path) -> None:
    own = {"role": "system", "content": "Be silent."}
    asked: dict[str, Any] = {"temperature": 0.5, "seed": 3, "max_tokens": 9}
    with edgeinfer.load(random_model, threads=1) as plain:
        said = [own, *TOLD["messages"], ASKED]
        assert ids(model, [own, ASKED], **asked) == ids(plain, said, **asked)
        sampling = Sampling(seed=2)  # all of them
        assert ids(model, [own, ASKED], sampling=sampling) == ids(
            plain, said, sampling=sampling, max_tokens=5
        )
    with edgeinfer.load("told", context_length=300) as shorter:
        assert shorter.context_length == 300


def test_the_environment_comes_before_the_model(
    home: Path, random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_ollama(home, "told", random_model, told=TOLD)
    monkeypatch.setenv("EDGEINFER_CONTEXT_LENGTH", "320")
    with edgeinfer.load("told") as model:
        assert model.context_length == 320


def test_a_context_shift_keeps_what_the_model_was_told(model: Model) -> None:
    asked = model.prompts.read([ASKED], model.context_length)
    told = model.tokenizer.decode(asked.ids[: model.prompts.n_told_first(asked)])
    assert all(text in told for text in (TOLD["system"], "first things", "second things"))
    assert ASKED["content"] not in told


def test_a_parameter_of_ollama_that_would_change_answers_is_not_ignored(
    home: Path, random_model: Path
) -> None:
    in_ollama(home, "told", random_model, told={"params": {"mirostat": 2}})
    with pytest.raises(InvalidRequest, match="told:latest: edgeinfer has no mirostat") as refused:
        edgeinfer.load("told")
    assert "blobs" in str(refused.value.hint)
