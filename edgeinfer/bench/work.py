"""What a token of a model costs, from the tensors of its file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeinfer._native import GgufFile
    from edgeinfer.models.spec import DecoderSpec


@dataclass(frozen=True)
class Work:
    """What a token costs at least."""

    bytes_per_step: int  # weights that a step of few tokens reads
    kv_bytes_per_token: int  # keys and values of one token of the past
    step_values: Mapping[str, int]  # by tensor type, of the matrices that such a step multiplies with
    layer_values: Mapping[str, int]  # likewise without the head, which a prompt needs only at its end

    @property
    def multiply_adds_per_token(self) -> int:
        """Of the layers' matrices."""
        return sum(self.layer_values.values())


def work_of(file: GgufFile, spec: DecoderSpec, kv_type: str = "f16") -> Work:
    """From the tensors of the file; of a mixture, the experts chosen for one token."""
    from edgeinfer.backends.plan import kv_bytes_per_token

    streamed = 0
    step_values: Counter[str] = Counter()
    layer_values: Counter[str] = Counter()
    for tensor in file.tensors():
        name, shape = tensor["name"], tensor["shape"]
        if len(shape) < 2 or (name == "token_embd.weight" and not spec.tied_output):
            continue
        used = spec.n_experts_used / spec.n_experts if len(shape) == 3 and spec.n_experts else 1.0
        streamed += int(tensor["bytes"] * used)
        step_values[tensor["type"]] += int(math.prod(shape) * used)
        if name.startswith("blk."):
            layer_values[tensor["type"]] += int(math.prod(shape) * used)
    return Work(streamed, kv_bytes_per_token(spec, kv_type), step_values, layer_values)
