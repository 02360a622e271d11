"""Writes a trained model as a GGUF file of architecture `llama`."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from tokenizers import Tokenizer

from .dialogues import DEFAULT_SYSTEM
from .model import Llama
from .tokenizer import END, MIDDLE, PREFIX, SPECIAL, STOP, SUFFIX

CHAT_TEMPLATE = (
    "{%- if not messages or messages[0].role != 'system' %}"
    "{{- '<|im_start|>system\n" + DEFAULT_SYSTEM + "<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
ABOUT = {
    "edgeinfer-tiny": "A few megabytes that know edgeinfer's commands, some small talk and some Python.",
    "edgeinfer-nano": "The draft model of edgeinfer-tiny: same tokenizer, a quarter of the work, distilled.",
}


def write_gguf(model: Llama, tokenizer: Tokenizer, path: Path, matrix_type: str) -> None:
    """Write model and tokenizer; matrices as matrix_type ("Q8_0" or "F16"), norms as F32."""
    writer = gguf.GGUFWriter(str(path), "llama")
    add_description(writer, model, matrix_type)
    add_shape(writer, model)
    add_tokenizer(writer, tokenizer)
    for name, weight in model.state_dict().items():
        array = weight.detach().float().numpy()
        kind = Type.F32 if array.ndim == 1 else Type[matrix_type]
        writer.add_tensor(name, gguf.quants.quantize(np.ascontiguousarray(array), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_description(writer: gguf.GGUFWriter, model: Llama, matrix_type: str) -> None:
    """The general.* keys."""
    name = model.shape.name
    writer.add_type("model")
    writer.add_name(name)
    writer.add_basename("edgeinfer")
    writer.add_size_label(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}M")
    writer.add_author("The edgeinfer authors")
    writer.add_organization("edgeinfer")
    writer.add_license("apache-2.0")
    writer.add_description(ABOUT[name])
    writer.add_languages(["en"])
    writer.add_tags(["text-generation", "code", "fill-in-the-middle"])
    writer.add_file_type(gguf.LlamaFileType["MOSTLY_" + matrix_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def add_shape(writer: gguf.GGUFWriter, model: Llama) -> None:
    """The llama.* keys."""
    shape = model.shape
    writer.add_context_length(shape.n_ctx)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    writer.add_head_count_kv(shape.n_head_kv)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(shape.norm_eps)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_vocab_size(shape.n_vocab)


def add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """The tokenizer.* keys; tokens and merges in the byte-level alphabet, as every GGUF has them."""
    vocab: dict[str, int] = tokenizer.get_vocab()
    tokens = sorted(vocab, key=lambda token: vocab[token])
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    kinds = [gguf.TokenType.CONTROL if t in SPECIAL else gguf.TokenType.NORMAL for t in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(vocab[END])
    writer.add_eos_token_id(vocab[STOP])
    writer.add_eot_token_id(vocab[STOP])
    writer.add_pad_token_id(vocab[END])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_uint32("tokenizer.ggml.fim_pre_token_id", vocab[PREFIX])
    writer.add_uint32("tokenizer.ggml.fim_suf_token_id", vocab[SUFFIX])
    writer.add_uint32("tokenizer.ggml.fim_mid_token_id", vocab[MIDDLE])
    writer.add_chat_template(CHAT_TEMPLATE)
