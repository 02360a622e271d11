"""Files of a folder or repository, grouped into variants: one quantization each, with all its shards."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

_QUANT = re.compile(
    r"(?:^|[-._])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32))(?=$|[-._])",
    re.IGNORECASE,
)
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})$")
_BESIDE = re.compile(r"(^|[-._])(mmproj|imatrix)([-._]|$)", re.IGNORECASE)  # no models of their own


@dataclass(frozen=True)
class Variant:
    """One way to have a model: a file or all shards of it, in order."""

    quant: str  # "Q4_K_M", as the file names spell it, in capitals; "" if they do not tell
    files: tuple[str, ...]  # relative, with forward slashes


def variants(files: Iterable[str]) -> list[Variant]:
    """The variants among these names, in order of their names. Incomplete sets of shards are left out."""
    shards: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
    for file in sorted(files):
        stem, dot, ending = file.rpartition(".")
        if ending.lower() != "gguf" or not dot or _BESIDE.search(stem.rsplit("/")[-1]):
            continue
        shard = _SHARD.fullmatch(stem)
        name, i, n = (shard[1], int(shard[2]), int(shard[3])) if shard else (stem, 1, 1)
        shards[name, n][i] = file
    whole = (
        Variant(quant_of(name), tuple(found[i] for i in range(1, n + 1)))
        for (name, n), found in shards.items()
        if found.keys() == set(range(1, n + 1))
    )
    return list(whole)


def quant_of(name: str) -> str:
    """What a file name, or the folder that it is in, tells about quantization: "Q4_K_M", or ""."""
    for part in reversed(name.removesuffix(".gguf").split("/")):
        found = _QUANT.findall(part)
        if found:
            return spelled(found[-1])
    return ""


def spelled(quant: str) -> str:
    """A quantization as we write it; equal for spellings that mean the same."""
    return re.sub(r"^FP(16|32)$", r"F\1", quant.upper())
