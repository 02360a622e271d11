"""Short names for the models that people run on laptops: `models/catalog.toml`, read without a network."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeinfer.hub.variants import quant_of, spelled


@dataclass(frozen=True)
class CatalogFile:
    """What is publicly known of one file; None or empty where it is not."""

    name: str
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class CatalogModel:
    """One size of a family."""

    name: str  # "qwen3:4b"
    repo: str  # on the Hugging Face hub
    quant: str  # of the short name, "Q4_K_M"
    licence: str  # SPDX, or the name that its owner gave it
    chat: str  # family of its chat format; "" for what is no chat model
    revision: str = "main"  # a commit where the files are known
    draft: str | None = None  # name of a smaller model with the same tokens, for speculation
    files: Mapping[str, CatalogFile] = field(default_factory=dict)  # by quant

    def name_of(self, quant: str) -> str:
        """The shortest name of this model in this quantization."""
        return self.name if quant == self.quant else f"{self.name}-{quant.lower()}"


@dataclass(frozen=True)
class Catalog:
    """All models by their name, and the size that a family's bare name means."""

    models: Mapping[str, CatalogModel]
    defaults: Mapping[str, str]

    def lookup(self, name: str) -> tuple[CatalogModel, str] | None:
        """(model, quantization) that `qwen3`, `qwen3:4b`, `qwen3:q8_0` or `qwen3:4b-q8_0` means, or None."""
        family, _, tag = name.lower().replace("@", ":").partition(":")
        default = self.defaults.get(family)
        if default is None:
            return None
        size = default if tag in ("", "latest") else tag
        if model := self.models.get(f"{family}:{size}"):
            return model, model.quant
        size, _, quant = tag.replace(":", "-").rpartition("-")
        model = self.models.get(f"{family}:{size or default}")
        return (model, spelled(quant)) if model and quant_of(quant) == spelled(quant) else None

    def of_repo(self, repo: str) -> CatalogModel | None:
        """The model that a repository holds."""
        return next((model for model in self.models.values() if model.repo.lower() == repo.lower()), None)


@functools.cache
def catalog() -> Catalog:
    """What ships inside the package."""
    import edgeinfer.models

    text = (Path(edgeinfer.models.__path__[0]) / "catalog.toml").read_text(encoding="utf-8")
    return read_catalog(text)


def read_catalog(text: str) -> Catalog:
    """Read the TOML of a catalog; see the head of models/catalog.toml for its form."""
    models, defaults = {}, {}
    for family, table in tomllib.loads(text).items():
        defaults[family] = table.pop("default")
        sizes: dict[str, dict[str, Any]] = {k: v for k, v in table.items() if isinstance(v, dict)}
        shared = {k: v for k, v in table.items() if k not in sizes}
        for size, row in sizes.items():
            files = {quant: CatalogFile(**file) for quant, file in row.pop("files", {}).items()}
            name = f"{family}:{size}"
            models[name] = CatalogModel(name=name, files=files, **{**shared, **row})
    return Catalog(models, defaults)
