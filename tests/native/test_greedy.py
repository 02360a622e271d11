"""The bundled model says what llama.cpp makes it say: 200 greedy tokens after 20 prompts, in F16."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import tiny

import edgeinfer

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "models" / "tiny" / "edgeinfer-tiny.gguf"
FILE = ROOT / "tests" / "goldens" / "greedy.json"
GOLDEN: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"answers": []}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    assert hashlib.sha256(BUNDLED.read_bytes()).hexdigest() == GOLDEN["sha256"], (
        "the bundled model is not the one that llama.cpp has read: run tests/goldens/make.py again"
    )
    path = tiny.write_f16_copy(tmp_path_factory.mktemp("model") / "f16.gguf", BUNDLED)
    with edgeinfer.load(str(path), threads=1, context_length=512) as loaded:
        yield loaded


@pytest.mark.parametrize("answer", GOLDEN["answers"], ids=lambda answer: ascii(answer["prompt"][-30:]))
def test_greedy_text_is_that_of_llama_cpp(answer: dict[str, Any], model: edgeinfer.Model) -> None:
    ids = model.tokenizer.encode(answer["prompt"], parse_special=True)
    assert ids == answer["prompt_ids"]
    never_end = dict.fromkeys(answer["ends"], float("-inf"))
    tokens = list(model.generate(ids, max_tokens=200, temperature=0.0, logit_bias=never_end))
    assert [token.id for token in tokens] == answer["ids"]
    assert "".join(token.text for token in tokens) == answer["text"]
