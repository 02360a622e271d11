"""About what a model of the catalog will take, told at once: nothing is fetched, nothing is asked.

`fit.fit_model` reads its header instead, and then knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeinfer import machine
from edgeinfer.backends.base import STEP_TOKENS
from edgeinfer.backends.plan import DEFAULT_CONTEXT
from edgeinfer.bench.work import Work
from edgeinfer.hub.fit import Fit, Use
from edgeinfer.models.spec import Span
from edgeinfer.settings import KvType

if TYPE_CHECKING:
    from edgeinfer.hub.catalog import CatalogModel, Shape

_KV_VALUE_BYTES: dict[KvType, float] = {"f16": 2.0, "q8_0": 34 / 32, "iq4_nl": 18 / 32}
_WEIGHT_BYTES = {"F16": 2.0, "Q8_0": 34 / 32, "Q6_K": 210 / 256, "Q5_K": 176 / 256, "Q4_K": 144 / 256}
# The process, the vocabulary and a step's activations: 140 MB with Llama-3.2-1B, 210 with an 8B model.
_LEAST_WORK_BYTES, _WORK_SHARE = 130_000_000, 0.016


def estimate(model: CatalogModel, use: Use) -> Fit | None:
    """Of the quantization that its name means; None where the catalog does not know enough."""
    file = model.files.get(model.quant)
    if file is None or file.size_bytes is None or model.shape is None:
        return None
    shape, memory = model.shape, machine.memory()
    context = use.context_length or min(DEFAULT_CONTEXT, shape.context)
    return Fit(
        model.name,
        context,
        use.parallel,
        use.kv_type,
        file.size_bytes,
        use.parallel * int(_kv_values(shape, context) * _KV_VALUE_BYTES[use.kv_type]),
        _LEAST_WORK_BYTES + int(_WORK_SHARE * file.size_bytes),
        memory,
        _work(shape, file.size_bytes, model.quant, use.kv_type),
        is_estimate=True,
    )


def _kv_values(shape: Shape, n_tokens: int) -> int:
    """Of all layers, for one full context."""
    of_layer = 2 * shape.kv_heads * shape.head_dim
    near = Span(shape.window).kept(n_tokens, STEP_TOKENS)
    return of_layer * (shape.layers * n_tokens - shape.window_layers * (n_tokens - near))


def _work(shape: Shape, file_bytes: int, quant: str, kv_type: KvType) -> Work:
    """As if the whole file were matrices of one type."""
    kind = next((kind for kind in _WEIGHT_BYTES if quant.startswith(kind)), "Q4_K")
    read = int(file_bytes * shape.active)
    values = {kind: int(read / _WEIGHT_BYTES[kind])}
    return Work(read, int(_kv_values(shape, 1) * _KV_VALUE_BYTES[kv_type]), values, values)
