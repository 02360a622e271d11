"""Metadata becomes the spec that llama.cpp confirms, or a typed error that names the key."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from edgeinfer import _native, models
from edgeinfer.errors import BadModelFile, UnsupportedModel

CASES = tiny.CASES | tiny.EMBEDDERS
N_CTX = 256  # phi3 has an original context of 128: its long factors


def flat(value: Any) -> list[Any]:
    """All values inside nested dicts and tuples."""
    if isinstance(value, dict):
        value = tuple(value.values())
    return [leaf for v in value for leaf in flat(v)] if isinstance(value, tuple) else [value]


@pytest.mark.parametrize("case", CASES)
def test_metadata_becomes_the_spec_of_the_case(case: str, tmp_path: Path) -> None:
    path = tiny.write_gguf(tmp_path / "model.gguf", case, "Q8_0")
    spec = models.load_spec(_native.gguf_open(str(path)), N_CTX)
    for name, value in asdict(CASES[case].spec).items():
        for ours, expected in zip(flat(asdict(spec)[name]), flat(value), strict=True):
            assert ours == (pytest.approx(expected, rel=1e-6) if isinstance(expected, float) else expected), (
                name
            )


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_of_a_case_has_a_place_in_its_decoder(case: str, tmp_path: Path) -> None:
    reader = gguf.GGUFReader(tiny.write_gguf(tmp_path / "model.gguf", case, "Q8_0"))
    names = {tensor.name for tensor in reader.tensors if not tensor.name.startswith("rope_")}
    assert names == set(models.tensor_names(CASES[case].spec))


def spec_of(
    tmp_path: Path,
    architecture: str = "llama",
    tensors: dict[str, NDArray[np.float32]] | None = None,
    **changes: Any,
) -> Any:
    """The spec of a small file whose keys are changed (None leaves a key out) and that has more tensors."""
    keys: dict[str, Any] = {
        "context_length": 128,
        "embedding_length": 64,
        "block_count": 1,
        "feed_forward_length": 64,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.layer_norm_rms_epsilon": 1e-5,
    } | {key.replace("__", "."): value for key, value in changes.items()}
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", architecture)
    kinds: dict[type, Any] = {
        bool: writer.add_bool,
        int: writer.add_int32,
        float: writer.add_float32,
        str: writer.add_string,
        list: writer.add_array,
    }
    for key, value in keys.items():
        if value is not None:
            kinds[type(value)](f"{architecture}.{key}", value)
    writer.add_token_list(["a", "b"])
    writer.add_tensor("token_embd.weight", tiny.random_matrix("x", "F16", (2, 64), 1.0).view("<f2"))
    for name, values in (tensors or {}).items():
        writer.add_tensor(name, values)
    tiny.finish(writer)
    return models.load_spec(_native.gguf_open(str(tmp_path / "model.gguf")))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_count", 0),
        ("block_count", 513),
        ("block_count", [1] * 513),
        ("block_count", "two"),
        ("embedding_length", -64),
        ("context_length", None),
        ("attention.head_count", 0),
        ("attention.head_count", 2**20),
        ("attention.head_count", 3),
        ("attention.head_count_kv", 3),
        ("attention.layer_norm_rms_epsilon", float("nan")),
        ("attention.layer_norm_rms_epsilon", None),
        ("rope.freq_base", -1.0),
        ("rope.freq_base", 10000),
        ("rope.freq_base", float("inf")),
        ("rope.freq_base", 1e-40),
        ("rope.scaling.factor", 0.0),
        ("attention.layer_norm_rms_epsilon", 3e38),
        ("rope.dimension_count", 18),
        ("rope.dimension_count", 5),
        ("attention.key_length", 2**24),
        ("attention.causal", 1),
        ("pooling_type", -1),
    ],
)
def test_impossible_key_is_refused_by_name(key: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=f"head|llama.{key}") as caught:
        spec_of(tmp_path, **{key: value})
    assert str(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rope.scaling.type", "dynamic"),
        ("attention.value_length", 32),
        ("attention.causal", False),
        ("attention.head_count_kv", [2, 4]),
        ("pooling_type", 4),  # a reranker
    ],
)
def test_trait_that_the_decoder_lacks_is_unsupported(key: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="native engine"):
        spec_of(tmp_path, **{key: value})


def test_unknown_architecture_is_unsupported_and_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="'mamba'") as caught:
        spec_of(tmp_path, architecture="mamba")
    assert "qwen3moe" in str(caught.value.hint)


def test_tensor_without_a_place_is_unsupported(tmp_path: Path) -> None:
    path = tiny.write_gguf(tmp_path / "qwen3.gguf", "qwen3", "Q8_0")
    renamed = path.read_bytes().replace(b"blk.0.attn_q_norm.weight", b"blk.0.attn_q_gate.weight")
    path.write_bytes(renamed)
    with pytest.raises(UnsupportedModel, match=r"blk\.0\.attn_q_gate\.weight"):
        models.load_spec(_native.gguf_open(str(path)))


def test_uniform_numbers_for_each_layer_are_one_number(tmp_path: Path) -> None:
    assert spec_of(tmp_path, **{"attention.head_count_kv": [2, 2]}).n_kv_heads == 2


@pytest.mark.parametrize(("finetuned", "rope"), [(False, -1), (True, 0), (None, 0)])
def test_granite_without_finetuned_rope_has_no_positions(
    finetuned: bool | None, rope: int, tmp_path: Path
) -> None:
    keys = {"logit_scale": 8.0, "rope.scaling.finetuned": finetuned}
    assert spec_of(tmp_path, architecture="granite", **keys).layer_rope == (rope,)


def test_yarn_stretches_frequencies_that_factors_divide(tmp_path: Path) -> None:
    yarn = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0}
    plain = spec_of(tmp_path, **yarn).ropes[0]
    factors = np.linspace(1, 8, len(plain.frequencies), dtype=np.float32)
    divided = spec_of(tmp_path, tensors={"rope_freqs.weight": factors}, **yarn).ropes[0]
    assert divided.frequencies == pytest.approx(tuple(np.array(plain.frequencies) / factors))
    assert divided.magnitude == plain.magnitude
