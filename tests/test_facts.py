"""What is told of a model file."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import gguf
import pytest
import tiny

import edgeinfer
from edgeinfer import _native
from edgeinfer.errors import DiskError
from edgeinfer.facts import Facts


def facts_of(path: Path) -> Facts:
    return Facts(_native.gguf_open(str(path)))


def test_the_facts_of_a_model_are_those_of_its_file(random_model: Path) -> None:
    reader = gguf.GGUFReader(random_model)
    with edgeinfer.load(random_model, context_length=256) as model:
        facts = model.facts
    assert facts.architecture == "llama"
    assert facts.n_bytes == random_model.stat().st_size
    assert facts.n_parameters == sum(int(tensor.n_elements) for tensor in reader.tensors)
    assert facts.quantization == "Q8_0"
    assert facts.count("embedding_length") == 256
    assert facts.count("nothing") is None
    assert facts.modified_at == random_model.stat().st_mtime


def test_the_bundled_model_names_its_mixture_and_fills_in(tmp_path: Path) -> None:
    with edgeinfer.load() as model:
        assert (model.facts.quantization, model.facts.capabilities) == ("Q8_0", ("completion", "insert"))


@pytest.mark.parametrize(
    ("template", "capability"),
    [("Qwen-Qwen3-0.6B", "thinking"), ("meta-llama-Llama-3.2-3B-Instruct", "tools")],
)
def test_templates_tell_what_a_model_can(
    shared_data: Path, tmp_path: Path, template: str, capability: str
) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>"])
    writer.add_token_scores([0.0])
    writer.add_chat_template((shared_data / f"chat_templates/{template}.jinja").read_text())
    tiny.finish(writer)
    assert capability in facts_of(tmp_path / "model.gguf").capabilities


def test_a_tokenizer_that_we_do_not_have_fills_in_nothing(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "rwkv7")
    writer.add_tokenizer_model("rwkv")
    tiny.finish(writer)
    assert facts_of(tmp_path / "model.gguf").capabilities == ("completion",)


def test_one_file_has_one_digest_and_others_have_others(tmp_path: Path, random_model: Path) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copy(random_model, copy)
    assert facts_of(copy).digest == facts_of(random_model).digest
    assert len(facts_of(copy).digest) == 64
    other = tmp_path / "other.gguf"
    whole = bytearray(random_model.read_bytes())
    whole[-1] ^= 1  # the weights differ in one bit
    other.write_bytes(whole)
    assert facts_of(other).digest != facts_of(copy).digest


def test_a_file_that_has_gone_is_an_error_with_its_name(tmp_path: Path, random_model: Path) -> None:
    copy = tmp_path / "copy.gguf"
    shutil.copy(random_model, copy)
    facts = facts_of(copy)
    copy.unlink()
    with pytest.raises(DiskError, match=r"copy\.gguf"):
        assert facts.digest


def test_metadata_is_json_whatever_the_file_says(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_float32("llama.infinite", math.inf)
    writer.add_array("llama.numbers", [1.0, math.nan])
    writer.add_array("llama.many", list(range(100)))
    tiny.finish(writer)
    facts = facts_of(tmp_path / "model.gguf")
    short, whole = (json.loads(json.dumps(facts.metadata(whole=w), allow_nan=False)) for w in (False, True))
    assert (short["llama.infinite"], short["llama.numbers"]) == (None, [1.0, None])
    assert short["llama.many"] is None
    assert whole["llama.many"] == list(range(100))
