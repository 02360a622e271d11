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


def test_each_source_of_a_parameter_comes_before_the_next(
    home: Path, random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(name: str | Path, **asked: Any) -> tuple[float, int]:
        with edgeinfer.load(name) as model:
            return model.sampling(**asked).temperature, model.context_length

    file = tmp_path / "config.toml"
    file.write_text("context_length = 256\n[sampling]\ntemperature = 0.2\n")
    in_ollama(home, "told", random_model, told=TOLD)
    assert found(random_model)[0] == Sampling.temperature
    monkeypatch.setenv("EDGEINFER_CONFIG", str(file))
    assert found(random_model) == (0.2, 256)
    assert found("told") == (1.5, 384)
    monkeypatch.setenv("EDGEINFER_SAMPLING_TEMPERATURE", "0.4")
    monkeypatch.setenv("EDGEINFER_CONTEXT_LENGTH", "320")
    assert found("told") == (0.4, 320)
    assert found("told", temperature=0.9) == (0.9, 320)


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
