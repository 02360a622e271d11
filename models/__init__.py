"""Model families: GGUF metadata in, DecoderSpec out.

`load_spec` reads `general.architecture` and hands the file to the family of that name. To add one, write
`models/<name>.py` with a `build` and add a row to `FAMILIES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from edgeinfer.models import (
    gemma2,
    gemma3,
    granite,
    llama,
    olmo2,
    phi3,
    qwen2,
    qwen3,
    qwen3moe,
    smollm3,
)
from edgeinfer.models.metadata import Metadata
from edgeinfer.models.spec import DecoderSpec

from edgeinfer.errors import BadModelFile, UnsupportedModel

if TYPE_CHECKING:
    from edgeinfer._native import GgufFile

FAMILIES: dict[str, Callable[[Metadata], DecoderSpec]] = {
    "gemma2": gemma2.build,
    "gemma3": gemma3.build,
    "granite": granite.build,
    "llama": llama.build,
    "olmo2": olmo2.build,
    "phi3": phi3.build,
    "qwen2": qwen2.build,
    "qwen3": qwen3.build,
    "qwen3moe": qwen3moe.build,
    "smollm3": smollm3.build,
}

# tensors that say how to rotate; they are in the spec, and old converters wrote them where nobody needs them
_ROPE_TENSORS = re.compile(r"rope_(freqs|factors_long|factors_short)\.weight|blk\.\d+\.attn_rot_embd")


def load_spec(file: GgufFile, context_length: int | None = None) -> DecoderSpec:
    """The decoder that a model file describes.

    Args:
        file: an open file; its metadata is read, its weights are not.
        context_length: tokens that the user wants; long-rope has two sets of factors and takes the long
            one above the original context. None: the model's own.

    Raises:
        BadModelFile: a key is missing or impossible.
        UnsupportedModel: no family of that name, or a trait that the decoder does not have.
    """
    key = "general.architecture"
    if key not in file or file.type_of(key) != "string":
        raise BadModelFile(
            f"{file.path}: key {key} is missing or no text", hint="the file is not a language model"
        )
    name = str(file.get(key))
    build = FAMILIES.get(name)
    if build is None:
        raise UnsupportedModel(
            f"{file.path}: architecture {name!r:.40} is not supported by the native engine",
            hint="supported are " + ", ".join(FAMILIES),
        )
    meta = Metadata(file, name, context_length)
    spec = build(meta)
    _refuse_unknown_tensors(meta, spec)
    return spec


def _refuse_unknown_tensors(meta: Metadata, spec: DecoderSpec) -> None:
    """A tensor that the decoder would ignore means that the model is not what its name says."""
    known = set(tensor_names(spec))
    for name in meta.tensor_names():
        if name not in known and not _ROPE_TENSORS.match(name):
            raise meta.unsupported(f"tensor {name:.60} has no place in a {spec.architecture} decoder")


def tensor_names(spec: DecoderSpec) -> list[str]:
    """Names of all tensors that the decoder reads for this spec."""
    names = ["token_embd.weight", "output_norm.weight"] + ([] if spec.tied_output else ["output.weight"])
    layer = layer_tensor_names(spec)
    return names + [f"blk.{i}.{name}" for i in range(spec.n_layers) for name in layer]


def layer_tensor_names(spec: DecoderSpec) -> list[str]:
    """The same for one layer, without its `blk.N.`."""
    names = ["attn_output.weight"]
    names += ["attn_norm.weight", "ffn_norm.weight"] if spec.pre_norm else []
    names += ["post_attention_norm.weight", "post_ffw_norm.weight"] if spec.post_norm else []
    names += ["attn_qkv.weight"] if spec.fused_qkv else [f"attn_{p}.weight" for p in "qkv"]
    names += [f"attn_{p}.bias" for p in "qkv"] if spec.qkv_bias else []
    names += ["attn_output.bias"] if spec.output_bias else []
    names += ["attn_q_norm.weight", "attn_k_norm.weight"] if spec.qk_norm != "none" else []
    if spec.n_experts:
        return [*names, *(f"ffn_{p}.weight" for p in ("gate_inp", "gate_exps", "up_exps", "down_exps"))]
    return [
        *names,
        *(f"ffn_{p}.weight" for p in (("gate",) if not spec.fused_gate_up else ()) + ("up", "down")),
    ]
