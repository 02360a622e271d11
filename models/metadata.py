"""Reads the hyperparameters of a GGUF file, each checked before anything is computed from it."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any, cast

from edgeinfer.errors import BadModelFile, UnsupportedModel

if TYPE_CHECKING:
    from edgeinfer._native import GgufFile

_HINT = "the file is damaged or was converted wrongly: download it again"
_MOST = 2**24  # of anything that is counted: far above any model, and products stay below 2**63
_MOST_LAYERS = 512


class Metadata:
    """The keys of one architecture: `count("block_count")` reads "llama.block_count".

    All methods raise BadModelFile with the file, the key and what is wrong with it.
    """

    def __init__(self, file: GgufFile, architecture: str, context_length: int | None) -> None:
        self._file = file
        self.architecture = architecture
        self.context_length = context_length  # tokens that the user wants; None: not said

    def count(self, key: str, default: int | None = None, *, least: int = 1, most: int = _MOST) -> int:
        """A whole number from `least` to `most`; without a default the key must be there."""
        value = self._get(key, default)
        if isinstance(value, list) and value and all(v == value[0] for v in value):
            value = value[0]  # some converters write one number for each layer
        if isinstance(value, list):
            raise self.unsupported(f"{self._name(key)} differs from layer to layer")
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.bad(f"{self._name(key)} is {value!r:.40}, not a number from {least} to {most}")
        return value

    def n_layers(self) -> int:
        """Layers of the decoder."""
        return self.count("block_count", most=_MOST_LAYERS)

    def number(
        self, key: str, default: float | None = None, *, least: float = 0.0, most: float = 1e9
    ) -> float:
        """A positive number from `least` to `most`."""
        value = self._get(key, default)
        if not isinstance(value, float):
            raise self.bad(f"{self._name(key)} is {value!r:.40}, not a floating-point number")
        if not least <= value <= most or value <= 0:
            raise self.bad(f"{self._name(key)} is {value!r:.40}, not a positive number of a sensible size")
        return float(value)

    def optional(self, key: str) -> float:
        """A positive number, or 0.0 if the key is absent or 0."""
        return self.number(key) if self._get(key, 0) else 0.0

    def has(self, key: str) -> bool:
        """Whether the file has this key."""
        return self._name(key) in self._file

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.bad(f"{self._name(key)} is {value!r:.40}, neither true nor false")
        return value

    def text(self, key: str, default: str) -> str:
        """A string."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.bad(f"{self._name(key)} is not a string")
        return value

    def pattern(self, key: str, default: int, n_layers: int) -> tuple[bool, ...]:
        """For each layer: does it look through a window? One flag a layer, or "all but every n-th"."""
        value = self._get(key, default)
        if isinstance(value, list):
            if len(value) < n_layers:
                raise self.bad(f"{self._name(key)} has {len(value)} values for {n_layers} layers")
            return tuple(bool(v) for v in value[:n_layers])
        every = self.count(key, default)
        return tuple(i % every < every - 1 for i in range(n_layers))

    def has_tensor(self, name: str) -> bool:
        """Whether the file has this tensor."""
        return bool(self._file.has_tensor(name))

    def n_rows(self, name: str) -> int:
        """Rows of a matrix."""
        tensor = self._tensor(name)
        if tensor is None:
            raise self.bad(f"tensor {name} is missing")
        if len(tensor["shape"]) != 2:
            raise self.bad(f"tensor {name} is not a matrix")
        return int(tensor["shape"][1])

    def floats(self, name: str, n: int) -> tuple[float, ...] | None:
        """The n positive numbers of a small F32 tensor; None if it is absent."""
        tensor = self._tensor(name)
        if tensor is None:
            return None
        if tensor["type"] != "F32" or list(tensor["shape"]) != [n]:
            raise self.bad(f"tensor {name} is {tensor['type']} {list(tensor['shape'])}, expected F32 [{n}]")
        values = struct.unpack(f"<{n}f", self._file.tensor_bytes(name))
        if not all(0 < v < math.inf for v in values):
            raise self.bad(f"tensor {name} has a value that is not a positive number")
        return values

    def n_tokens(self) -> int:
        """Entries of the vocabulary."""
        key = "tokenizer.ggml.tokens"
        return int(self._file.array_length(key)) if key in self._file else 0

    def tensor_names(self) -> list[str]:
        """Names of all tensors."""
        return [tensor["name"] for tensor in self._file.tensors()]

    def bad(self, what: str) -> BadModelFile:
        """The error for a file that contradicts itself."""
        return BadModelFile(f"{self._file.path}: {what}", hint=_HINT)

    def unsupported(self, what: str) -> UnsupportedModel:
        """The error for a model that uses something which the decoder does not have."""
        return UnsupportedModel(
            f"{self._file.path}: {what}, which the native engine does not run",
            hint="another program may run it: it is not known to be damaged",
        )

    def _tensor(self, name: str) -> dict[str, Any] | None:
        return cast("dict[str, Any] | None", self._file.tensor(name))

    def _name(self, key: str) -> str:
        return f"{self.architecture}.{key}"

    def _get(self, key: str, default: Any) -> Any:
        name = self._name(key)
        if name in self._file:
            if self._file.array_length(name) > _MOST_LAYERS:
                raise self.bad(
                    f"{name} has {self._file.array_length(name)} values, at most {_MOST_LAYERS} make sense"
                )
            return self._file.get(name)
        if default is None:
            raise self.bad(f"key {name} is missing")
        return default
