"""About what a model of the catalog will take, told at once: nothing is fetched, nothing is asked.

`fit.fit_model` reads its header instead, and then knows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeinfer import machine
from edgeinfer.backends.base import STEP_TOKENS
from edgeinfer.backends.plan import DEFAULT_CONTEXT
from edgeinfer.bench.work import Work
from edgeinfer.config.table import KvType
from edgeinfer.hub.fit import Fit, Use
from edgeinfer.models.spec import Span

if TYPE_CHECKING:
    from edgeinfer.hub.catalog import CatalogModel, Shape

_KV_VALUE_BYTES: dict[KvType, float] = {"f16": 2.0, "q8_0": 34 / 32, "iq4_nl": 18 / 32}
_WEIGHT_BYTES = {"F16": 2.0, "Q8_0": 34 / 32, "Q6_K": 210 / 256, "Q5_K": 176 / 256, "Q4_K": 144 / 256}
_MIXED = 1.08  # of the size without the tensors of finer types: qwen3:4b, llama3.1:8b
# The process, the vocabulary and a step's activations: 140 MB with Llama-3.2-1B, 210 with an 8B model.
_LEAST_WORK_BYTES, _WORK_SHARE = 130_000_000, 0.016


def estimate(model: CatalogModel, use: Use) -> Fit | None:
    """Of the quantization that its name means; None where the catalog does not know enough."""
    size_bytes = _size_bytes(model)
    if size_bytes is None or model.shape is None:
        return None
    shape, memory = model.shape, machine.memory()
    context = use.context_length or min(use.usual_context or DEFAULT_CONTEXT, shape.context)
    return Fit(
        model.name,
        context,
        use.parallel,
        use.kv_type,
        size_bytes,
        use.parallel * int(_kv_values(shape, context) * _KV_VALUE_BYTES[use.kv_type]),
        _LEAST_WORK_BYTES + int(_WORK_SHARE * size_bytes),
        memory,
        _work(shape, size_bytes, model.quant, use.kv_type),
        is_estimate=True,
    )


def _size_bytes(model: CatalogModel) -> int | None:
    """Of its file; where the catalog does not tell, by the number of weights in the name."""
    file = model.files.get(model.quant)
    if file is not None and file.size_bytes is not None:
        return file.size_bytes
    named = re.search(r":(\d+(?:\.\d+)?)([bm])", model.name)
    if named is None:
        return None
    n_weights = float(named[1]) * {"b": 1e9, "m": 1e6}[named[2]]
    return int(n_weights * _WEIGHT_BYTES[_type_of(model.quant)] * _MIXED)


def _kv_values(shape: Shape, n_tokens: int) -> int:
    """Of all layers, for one full context."""
    of_layer = 2 * shape.kv_heads * shape.head_dim
    near = Span(shape.window).kept(n_tokens, STEP_TOKENS)
    return of_layer * (shape.layers * n_tokens - shape.window_layers * (n_tokens - near))


def _work(shape: Shape, file_bytes: int, quant: str, kv_type: KvType) -> Work:
    """As if the whole file were matrices of one type."""
    kind = _type_of(quant)
    read = int(file_bytes * shape.active)
    values = {kind: int(read / _WEIGHT_BYTES[kind])}
    return Work(read, int(_kv_values(shape, 1) * _KV_VALUE_BYTES[kv_type]), values, values)


def _type_of(quant: str) -> str:
    """Of most of its tensors."""
    return next((kind for kind in _WEIGHT_BYTES if quant.startswith(kind)), "Q4_K")
