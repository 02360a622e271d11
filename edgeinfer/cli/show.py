"""`edgeinfer show`: what is in a model file, without running it."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Any, get_args

import click

from edgeinfer.cli import model_names, output
from edgeinfer.config.table import KvType
from edgeinfer.errors import EdgeInferError
from edgeinfer.facts import Facts, TensorType
from edgeinfer.text.safe import safe_text

if TYPE_CHECKING:
    from edgeinfer._native import GgufFile
    from edgeinfer.hub.modelfile import Modelfile
    from edgeinfer.models.spec import DecoderSpec


@click.command("show", short_help="Tell what is in a model file.")
@model_names.argument("model", required=False)
@click.option("--template", is_flag=True, help="Print only the chat template.")
@click.option("--modelfile", is_flag=True, help="Print only a Modelfile that `create` takes.")
@click.option("--metadata", is_flag=True, help="Print all metadata keys; long arrays by their length.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: str | None, template: bool, modelfile: bool, metadata: bool, as_json: bool) -> None:
    """Tell what is in MODEL: a file or a name."""
    from edgeinfer import _native
    from edgeinfer.hub.modelfile import Modelfile
    from edgeinfer.hub.names import locate

    found = locate(model)
    told = found.modelfile or Modelfile(str(found.path.absolute()))
    if modelfile:
        text = str(told)
        output.data(safe_text(text) if output.is_terminal(sys.stdout) else text, end="")
        return
    file = _native.gguf_open(str(found.path))
    if template:
        output.data(safe_text(Facts(file, template=found.template).template))
    elif metadata:
        _print_metadata(file, as_json)
    else:
        facts = {**describe(file, found.template), "told": _told(told)}
        output.as_json(facts) if as_json else _print(facts)


def _told(modelfile: Modelfile) -> dict[str, Any]:
    return {
        "system": modelfile.system,
        "messages": [{"role": role, "content": content} for role, content in modelfile.messages],
        "parameters": list(modelfile.parameter_lines()),
        "licenses": modelfile.licenses,
    }


def describe(file: GgufFile, template: str | None = None) -> dict[str, Any]:
    """Everything that `show` tells of a file, as JSON values.

    Args:
        template: that is used instead of the file's.
    """
    facts, (spec, unsupported) = Facts(file, template=template), _spec(file)
    return {
        "file": {"path": str(file.path), "bytes": facts.n_bytes, "shards": file.shards},
        "model": {
            "name": facts.text("general.name"),
            "architecture": facts.architecture,
            "parameters": facts.n_parameters,
            "quantization": facts.quantization,
            "license": facts.text("general.license"),
            "supported": unsupported is None,
            "problem": unsupported,
        },
        "quantization": [_tensor_type(kind) for kind in facts.tensor_types],
        "tensors": facts.tensor_groups,
        "shape": _shape(spec),
        "tokenizer": _tokenizer(file, facts),
        "template": _template(facts.template),
        "memory": _memory(file, spec),
    }


def _spec(file: GgufFile) -> tuple[DecoderSpec | None, str | None]:
    from edgeinfer import models

    try:
        return models.load_spec(file), None
    except EdgeInferError as problem:
        return None, problem.message


def _tensor_type(kind: TensorType) -> dict[str, Any]:
    bits = round(8 * kind.n_bytes / max(1, kind.n_values), 2)
    return {"type": kind.name, "tensors": kind.n_tensors, "bytes": kind.n_bytes, "bits_per_value": bits}


def _shape(spec: DecoderSpec | None) -> dict[str, int]:
    if spec is None:
        return {}
    shape = {
        "context": spec.n_ctx_train,
        "layers": spec.n_layers,
        "width": spec.n_embd,
        "heads": spec.n_heads,
        "kv_heads": spec.n_kv_heads,
        "head_width": spec.head_dim,
        "feed_forward": spec.n_ff,
    }
    return shape | (
        {"experts": spec.n_experts, "experts_used": spec.n_experts_used} if spec.n_experts else {}
    )


def _tokenizer(file: GgufFile, facts: Facts) -> dict[str, Any]:
    from edgeinfer.text.tokenizer import Tokenizer

    kind = {"model": facts.text("tokenizer.ggml.model"), "pre": facts.text("tokenizer.ggml.pre")}
    try:
        tokenizer = Tokenizer.from_gguf(file)
    except EdgeInferError as problem:
        return {**kind, "problem": problem.message}
    ends = [tokenizer.token_text(i) for i in sorted(tokenizer.eog_ids)]
    bos = None if tokenizer.bos_id is None else tokenizer.token_text(tokenizer.bos_id)
    return {**kind, "tokens": tokenizer.n_vocab, "bos": bos, "adds_bos": tokenizer.add_bos, "ends": ends}


def _template(text: str) -> dict[str, Any]:
    if not text:
        return {"present": False}
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    return {"present": True, "characters": len(text), "sha256": digest}


def _memory(file: GgufFile, spec: DecoderSpec | None) -> dict[str, Any]:
    """Bytes: the file that is mapped, what is computed in, keys and values at the default context."""
    from edgeinfer.backends.plan import DEFAULT_CONTEXT, kv_bytes, work_bytes

    if spec is None:
        return {"file": file.size_bytes}
    context = min(spec.n_ctx_train, DEFAULT_CONTEXT)
    kv = {kind: kv_bytes(spec, kind, context) for kind in get_args(KvType)}
    work = work_bytes(spec, context)
    kept = {f"kv_{kind}": n for kind, n in kv.items()}
    return {"file": file.size_bytes, "work": work, "context": context, **kept}


def _print(facts: dict[str, Any]) -> None:
    model, file = facts["model"], facts["file"]
    rows: list[tuple[str, object]] = [
        ("file", file["path"]),
        ("size", output.in_bytes(file["bytes"])),
        ("name", model["name"] or "(none)"),
        ("architecture", model["architecture"]),
        ("parameters", f"{model['parameters'] / 1e6:,.1f} million"),
        ("quantization", model["quantization"]),
    ]
    if model["license"]:
        rows.append(("license", model["license"]))
    if model["problem"]:
        rows.append(("not supported", model["problem"]))
    output.table(rows, title="Model")
    if facts["shape"]:
        output.table([(k.replace("_", " "), v) for k, v in facts["shape"].items()], title="Shape")
    types = [
        (q["type"], q["tensors"], output.in_bytes(q["bytes"]), q["bits_per_value"])
        for q in facts["quantization"]
    ]
    output.table([("type", "tensors", "size", "bits per value"), *types], title="Quantization")
    output.table([(name, _mix(types)) for name, types in facts["tensors"].items()], title="Tensors")
    output.table(_tokenizer_rows(facts["tokenizer"]), title="Tokenizer")
    output.table(_template_rows(facts["template"]), title="Chat template")
    output.table(_memory_rows(facts["memory"]), title="Memory")
    told = _told_rows(facts["told"])
    if told:
        output.table(told, title="Told once and for all")


def _mix(types: dict[str, int]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(types.items(), key=lambda item: -item[1]))


def _tokenizer_rows(facts: dict[str, Any]) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [
        ("kind", " ".join(filter(None, (facts["model"], facts["pre"]))) or "(none)")
    ]
    if "problem" in facts:
        return [*rows, ("not supported", facts["problem"])]
    bos = f"{facts['bos']}{'' if facts['adds_bos'] else ' (not added)'}" if facts["bos"] else "(none)"
    return [*rows, ("tokens", facts["tokens"]), ("begins with", bos), ("ends with", " ".join(facts["ends"]))]


def _template_rows(facts: dict[str, Any]) -> list[tuple[str, object]]:
    if not facts["present"]:
        return [("present", "no: `run --raw` continues text, chat needs a template")]
    return [("characters", facts["characters"]), ("sha256", facts["sha256"])]


def _told_rows(told: dict[str, Any]) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("system", told["system"])] if told["system"] else []
    rows += [(message["role"], message["content"]) for message in told["messages"]]
    rows += [("parameter", line) for line in told["parameters"]]
    return [*rows, *(("license", text.strip().partition("\n")[0]) for text in told["licenses"])]


def _memory_rows(facts: dict[str, Any]) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [("weights, mapped", output.in_bytes(facts["file"]))]
    if "work" in facts:
        rows.append(("to compute in", output.in_bytes(facts["work"])))
    for kind in get_args(KvType):
        if f"kv_{kind}" in facts:
            size = output.in_bytes(facts[f"kv_{kind}"])
            rows.append((f"keys and values, {kind}", f"{size} at {facts['context']} tokens"))
    return rows


def _print_metadata(file: GgufFile, as_json: bool) -> None:
    found = {key: _short(file, key) for key in file.keys()}  # noqa: SIM118  # not a mapping
    output.as_json(found) if as_json else output.table(found.items())


def _short(file: GgufFile, key: str) -> Any:
    """The value of a key; a long array only by its length, so that it need not become Python objects."""
    kind = file.type_of(key)
    n = file.array_length(key) if kind.startswith("array") else 0
    return f"{kind}, {n} values" if n > 16 else file.get(key)
