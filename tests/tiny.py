"""Writes small random GGUF files: every architecture and tensor type that the native engine knows.

The bytes of a file are a pure function of (case, tensor type), so that committed goldens stay true on
every machine.

    tiny.write_gguf(tmp_path / "model.gguf", "gemma3", "Q4_K")
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import gguf.quants
import numpy as np
from edgeinfer.models.spec import DecoderSpec
from gguf import GGMLQuantizationType as Type
from tiny_blocks import TYPES, Stream, random_matrix
from tiny_cases import ARCHITECTURES, CASES, EMBEDDERS, N_VOCAB, Case

__all__ = [
    "ARCHITECTURES",
    "CASES",
    "EMBEDDERS",
    "N_VOCAB",
    "TEMPLATE",
    "TYPES",
    "Case",
    "finish",
    "random_matrix",
    "token_ids",
    "write_case",
    "write_changed_copy",
    "write_f16_copy",
    "write_gguf",
    "write_shards",
]


_WORDS = re.findall(
    r"\w+",
    "the and you that was for are with his they this have from one had word but not what all were when "
    "your can said there use each which she how their will other about out many then them these some her",
)
_PAIRS = [a + b for a in "aeioust" for b in "abcdefghijklmnopqrstuvwxyz"]


def _byte_characters() -> list[str]:
    """The 256 characters that stand for bytes in a GPT-2 vocabulary (Radford et al. 2019)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def _gpt2_vocabulary(writer: gguf.GGUFWriter) -> None:
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens, merges = _byte_characters(), []
    for word in [*_WORDS, *_PAIRS]:
        for left, right in ((word[:i], word[i]) for i in range(1, len(word))):
            if left + right not in tokens and len(tokens) + len(specials) < N_VOCAB:
                tokens.append(left + right)
                merges.append(f"{left} {right}")
    kinds = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(specials)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*tokens, *specials])
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(N_VOCAB - 3)
    writer.add_eos_token_id(N_VOCAB - 1)
    writer.add_add_bos_token(False)


def _llama_vocabulary(writer: gguf.GGUFWriter) -> None:
    specials = ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    pieces = list(
        dict.fromkeys(
            ["▁", *"".join(_WORDS), *(w[:i] for w in _WORDS for i in range(2, len(w) + 1)), *_PAIRS]
        )
    )
    pieces = pieces[: N_VOCAB - 256 - len(specials)]
    assert len(pieces) + 256 + len(specials) == N_VOCAB
    kinds = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 5 + [gguf.TokenType.BYTE] * 256
    writer.add_tokenizer_model("llama")
    writer.add_token_list([*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces])
    writer.add_token_scores([0.0] * (len(specials) + 256) + [-float(i) for i in range(len(pieces))])
    writer.add_token_types(kinds + [gguf.TokenType.NORMAL] * len(pieces))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)


TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class _Matrix:
    name: str
    shape: tuple[int, ...]  # rows last, in elements
    gain: float  # standard deviation of what a unit input gives


@dataclass(frozen=True)
class _Vector:
    name: str
    length: int
    mean: float
    std: float


def _attention(spec: DecoderSpec, at: str) -> Iterator[_Matrix | _Vector]:
    width, kv_width = spec.n_heads * spec.head_dim, spec.n_kv_heads * spec.head_dim
    if spec.fused_qkv:
        yield _Matrix(f"{at}.attn_qkv.weight", (width + 2 * kv_width, spec.n_embd), 1.2)
    for part, rows in () if spec.fused_qkv else (("q", width), ("k", kv_width), ("v", kv_width)):
        yield _Matrix(f"{at}.attn_{part}.weight", (rows, spec.n_embd), 1.2)
        if spec.qkv_bias:
            yield _Vector(f"{at}.attn_{part}.bias", rows, 0.0, 0.5)
    yield _Matrix(f"{at}.attn_output.weight", (spec.n_embd, width), 0.9)
    if spec.output_bias:
        yield _Vector(f"{at}.attn_output.bias", spec.n_embd, 0.0, 0.5)
    if spec.qk_norm != "none":
        row = spec.qk_norm == "row"
        yield _Vector(f"{at}.attn_q_norm.weight", width if row else spec.head_dim, 1.2, 0.2)
        yield _Vector(f"{at}.attn_k_norm.weight", kv_width if row else spec.head_dim, 1.2, 0.2)


def _feed_forward(spec: DecoderSpec, at: str) -> Iterator[_Matrix | _Vector]:
    if spec.n_experts:
        n, n_ff = spec.n_experts, spec.n_ff_expert
        yield _Vector(f"{at}.ffn_gate_inp.weight", n * spec.n_embd, 0.0, 3.0 / math.sqrt(spec.n_embd))
        yield _Matrix(f"{at}.ffn_gate_exps.weight", (n, n_ff, spec.n_embd), 1.2)
        yield _Matrix(f"{at}.ffn_up_exps.weight", (n, n_ff, spec.n_embd), 1.2)
        yield _Matrix(f"{at}.ffn_down_exps.weight", (n, spec.n_embd, n_ff), 0.8)
        return
    if not spec.fused_gate_up:
        yield _Matrix(f"{at}.ffn_gate.weight", (spec.n_ff, spec.n_embd), 1.2)
    n_up = spec.n_ff * (2 if spec.fused_gate_up else 1)
    yield _Matrix(f"{at}.ffn_up.weight", (n_up, spec.n_embd), 1.2)
    yield _Matrix(f"{at}.ffn_down.weight", (spec.n_embd, spec.n_ff), 0.8)


def _tensors(case: Case) -> Iterator[_Matrix | _Vector]:
    spec = case.spec
    n_embd = spec.n_embd
    yield _Matrix("token_embd.weight", (spec.n_vocab, n_embd), case.embedding_std * math.sqrt(n_embd))
    yield _Vector("output_norm.weight", n_embd, case.output_norm_mean, 0.1)
    if not spec.tied_output:
        yield _Matrix("output.weight", (spec.n_vocab, n_embd), 2.0)
    for i in range(spec.n_layers):
        at = f"blk.{i}"
        for name in ("attn_norm", "ffn_norm") if spec.pre_norm else ():
            yield _Vector(f"{at}.{name}.weight", n_embd, 1.0, 0.1)
        for name in ("post_attention_norm", "post_ffw_norm") if spec.post_norm else ():
            yield _Vector(f"{at}.{name}.weight", n_embd, case.post_norm_mean, 0.1)
        yield from _attention(spec, at)
        yield from _feed_forward(spec, at)


def _add_metadata(writer: gguf.GGUFWriter, case: Case) -> None:
    spec = case.spec
    writer.add_name(f"tiny {case.name}")
    writer.add_context_length(spec.n_ctx_train)
    writer.add_embedding_length(spec.n_embd)
    writer.add_block_count(spec.n_layers)
    writer.add_feed_forward_length(spec.n_ff)
    writer.add_head_count(spec.n_heads)
    writer.add_head_count_kv(spec.n_kv_heads)
    writer.add_layer_norm_rms_eps(spec.norm_eps)
    for key, value in case.metadata.items():
        add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}[type(value)]
        add(f"{spec.architecture}.{key}", value)


def _add_tensors(writer: gguf.GGUFWriter, case: Case, tensor_type: str) -> None:
    for tensor in _tensors(case):
        key = f"{case.name}/{tensor_type}/{tensor.name}"
        if isinstance(tensor, _Matrix):
            data = random_matrix(key, tensor_type, tensor.shape, tensor.gain / math.sqrt(tensor.shape[-1]))
            writer.add_tensor(tensor.name, data, raw_dtype=Type[tensor_type])
            continue
        vector = (tensor.mean + tensor.std * Stream(key).normal(tensor.length)).astype(np.float32)
        router = tensor.name.endswith("ffn_gate_inp.weight")
        writer.add_tensor(tensor.name, vector.reshape(-1, case.spec.n_embd) if router else vector)
    for name, factors in case.rope_tensors.items():
        writer.add_tensor(f"{name}.weight", factors)


def write_gguf(
    path: Path, case_name: str = "llama", tensor_type: str = "Q4_K", *, template: str = TEMPLATE
) -> Path:
    """Write one of `CASES` or `EMBEDDERS` with all its matrices in one of `TYPES` (norms and biases in F32).

    Returns the path. The file's bytes depend on these arguments alone.
    """
    return write_case(path, (CASES | EMBEDDERS)[case_name], tensor_type, template=template)


def write_case(path: Path, case: Case, tensor_type: str, *, template: str = TEMPLATE) -> Path:
    """The same for a case that is in no list."""
    _write(gguf.GGUFWriter(path, case.spec.architecture), case, tensor_type, template)
    return path


def write_shards(
    path: Path, n_tensors: int, case_name: str = "llama", tensor_type: str = "Q8_0"
) -> list[Path]:
    """The same in several files with at most so many tensors each. Returns their paths in order."""
    case = (CASES | EMBEDDERS)[case_name]
    _write(gguf.GGUFWriter(path, case.spec.architecture, split_max_tensors=n_tensors), case, tensor_type)
    return sorted(path.parent.glob(f"{path.stem}-*.gguf"))


def _write(writer: gguf.GGUFWriter, case: Case, tensor_type: str, template: str = TEMPLATE) -> None:
    _add_metadata(writer, case)
    {"gpt2": _gpt2_vocabulary, "llama": _llama_vocabulary}[case.vocabulary](writer)
    writer.add_chat_template(template)
    _add_tensors(writer, case, tensor_type)
    finish(writer)


def finish(writer: gguf.GGUFWriter) -> None:
    """Write everything to the file and close it."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_f16_copy(path: Path, source: Path) -> Path:
    """Write a GGUF like source with every quantized matrix decoded to F16. Returns path."""
    reader = gguf.GGUFReader(source)
    writer = _with_keys(path, reader, {})
    for tensor in reader.tensors:
        data = tensor.data
        if tensor.tensor_type not in (Type.F32, Type.F16):
            data = gguf.quants.dequantize(data, tensor.tensor_type).astype(np.float16)
        writer.add_tensor(tensor.name, data)
    finish(writer)
    return path


def write_changed_copy(path: Path, source: Path, changes: Mapping[str, Callable[[Any], Any]]) -> Path:
    """Write a GGUF like source whose keys have other values, made of those there. Returns path."""
    reader = gguf.GGUFReader(source)
    writer = _with_keys(path, reader, changes)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    finish(writer)
    return path


def _with_keys(
    path: Path, reader: gguf.GGUFReader, changes: Mapping[str, Callable[[Any], Any]]
) -> gguf.GGUFWriter:
    writer = gguf.GGUFWriter(path, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        value = changes.get(name, lambda same: same)(field.contents())
        writer.add_key_value(name, value, field.types[0], inner)
    return writer


def token_ids(n: int, key: str = "tokens") -> list[int]:
    """n random ids that are valid in every case."""
    raw = Stream(key).bytes(n, 2).astype(np.int64)
    return [int(i) for i in (raw[:, 0] * 256 + raw[:, 1]) % N_VOCAB]
