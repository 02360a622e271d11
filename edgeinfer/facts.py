"""What a model file says of itself, for `edgeinfer show` and for the clients that ask a server."""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeinfer.errors import BadModelFile, DiskError

if TYPE_CHECKING:
    from edgeinfer._native import GgufFile
    from edgeinfer.text.tokenizer import Tokenizer

Capability = Literal["completion", "tools", "insert", "thinking", "embedding"]

_ENDS_BYTES = 1 << 20
_FEW_VALUES = 16  # longer arrays are vocabularies
# `general.file_type` of the GGUF specification: the mixtures that go by a name
_FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    21: "Q2_K_S",
    25: "IQ4_NL",
    30: "IQ4_XS",
    32: "BF16",
    38: "MXFP4",
}
_LAYER = re.compile(r"^blk\.\d+\.")
_THINKING = re.compile(r"</?think|enable_thinking|reasoning_content|<\|channel")


@dataclass(frozen=True)
class TensorType:
    """How much of a file is of one type."""

    name: str
    n_tensors: int
    n_bytes: int
    n_values: int


class Facts:
    """Read from the file when they are first asked for, each once.

    All but `digest` and `modified_at` come from the mapped file and raise nothing.
    """

    def __init__(
        self, file: GgufFile, tokenizer: Tokenizer | None = None, *, template: str | None = None
    ) -> None:
        """Of an open file.

        Args:
            tokenizer: if it is there already.
            template: that the model has instead of the file's.
        """
        self._file = file
        self._given_template = template
        self._tokenizer = tokenizer

    def with_template(self, template: str | None) -> Facts:
        """Those of a model of the same file that has another template."""
        return Facts(self._file, self._tokenizer, template=template)

    def text(self, key: str) -> str:
        """The string of a key, "" if there is none."""
        value = self._file.get(key) if key in self._file else ""
        return value if isinstance(value, str) else ""

    def count(self, key: str) -> int | None:
        """A whole number of the architecture: count("context_length") reads "llama.context_length"."""
        name = f"{self.architecture}.{key}"
        if name not in self._file or self._file.type_of(name).startswith("array"):
            return None
        value = self._file.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @property
    def architecture(self) -> str:
        """As "llama"."""
        return self.text("general.architecture")

    @property
    def template(self) -> str:
        """Jinja source of the chat template, "" if there is none."""
        return self.text("tokenizer.chat_template") if self._given_template is None else self._given_template

    @property
    def n_bytes(self) -> int:
        """Of all shards."""
        return int(self._file.size_bytes)

    @cached_property
    def tensor_types(self) -> list[TensorType]:
        """By the bytes they take, most first."""
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        for tensor in self._file.tensors():
            for i, n in enumerate((1, tensor["bytes"], math.prod(tensor["shape"]))):
                sums[tensor["type"]][i] += n
        rows = sorted(sums.items(), key=lambda item: (-item[1][1], item[0]))
        return [TensorType(name, *of) for name, of in rows]

    @cached_property
    def tensor_groups(self) -> dict[str, dict[str, int]]:
        """What the layers have, as "attn_v", and what there is once, as "output": how many are of which type.

        In the order of the file; one-dimensional tensors, which are never quantized, are left out.
        """
        groups: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for tensor in self._file.tensors():
            if len(tensor["shape"]) > 1:
                groups[_LAYER.sub("", tensor["name"]).removesuffix(".weight")][tensor["type"]] += 1
        return {name: dict(types) for name, types in groups.items()}

    @property
    def n_parameters(self) -> int:
        """Values of all tensors."""
        return sum(kind.n_values for kind in self.tensor_types)

    @property
    def quantization(self) -> str:
        """The name that the file gives it, as "Q4_K_M", else the type that most of it has."""
        kind = self._file.get("general.file_type") if "general.file_type" in self._file else None
        most = self.tensor_types[0].name if self.tensor_types else "unknown"
        return _FILE_TYPES.get(kind, most) if isinstance(kind, int) else most

    @property
    def is_embedder(self) -> bool:
        """Whether it gives vectors instead of text."""
        return bool(self.count("pooling_type"))

    @property
    def calls_tools(self) -> bool:
        """Whether its template shows it tools."""
        from edgeinfer.text.toolcalls.told import knows_tools

        return not self.is_embedder and knows_tools(self.template)

    @cached_property
    def capabilities(self) -> tuple[Capability, ...]:
        """What can be asked of it: as its vocabulary and its template suggest."""
        if self.is_embedder:
            return ("embedding",)
        found: list[Capability] = ["completion"]
        found += ["tools"] if self.calls_tools else []
        found += ["insert"] if self._can_infill() else []
        found += ["thinking"] if _THINKING.search(self.template) else []
        return tuple(found)

    def _can_infill(self) -> bool:
        from edgeinfer.text.infill import can_infill
        from edgeinfer.text.tokenizer import Tokenizer

        try:
            return can_infill(self._tokenizer or Tokenizer.from_gguf(self._file))
        except BadModelFile:  # a tokenizer that we do not have
            return False

    @cached_property
    def digest(self) -> str:
        """sha256, 64 hexadecimal digits, of the size and of the first and the last MiB of the file.

        That tells models apart, and is always the same for one file; but it is no checksum: reading
        gigabytes of weights is not what somebody waits for who only wants a list.

        Raises:
            DiskError: the file cannot be read any more.
        """
        found = hashlib.sha256(f"{self.n_bytes} ".encode())
        try:
            with Path(str(self._file.path)).open("rb") as file:
                found.update(file.read(_ENDS_BYTES))
                file.seek(-min(_ENDS_BYTES, file.seek(0, 2)), 2)
                found.update(file.read())
        except OSError as error:
            raise DiskError(f"cannot read {self._file.path}: {error.strerror}") from error
        return found.hexdigest()

    @cached_property
    def modified_at(self) -> float:
        """When the file was written, seconds since 1970. Raises DiskError."""
        try:
            return Path(str(self._file.path)).stat().st_mtime
        except OSError as error:
            raise DiskError(f"cannot read {self._file.path}: {error.strerror}") from error

    def metadata(self, *, whole: bool = False) -> dict[str, Any]:
        """All keys as JSON values; of arrays of more than 16 values, and of numbers that JSON has not, None.

        Args:
            whole: long arrays too.
        """
        keys = self._file.keys()
        short = {key for key in keys if whole or not self._is_long(key)}
        return {key: _json_value(self._file.get(key)) if key in short else None for key in keys}

    def _is_long(self, key: str) -> bool:
        array = self._file.type_of(key).startswith("array")
        return array and self._file.array_length(key) > _FEW_VALUES


def _json_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_json_value(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
