"""Short names for the models that people run on laptops: `models/catalog.toml`, read without a network."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from edgeinfer.errors import IntegrityError
from edgeinfer.hub.names import REPO
from edgeinfer.hub.variants import quant_of, spelled

_OF_FAMILY = {"default", "licence", "chat", "architecture"}  # what all sizes share; other keys are sizes
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*:[a-z0-9][a-z0-9.-]*")
_REVISION = re.compile(r"main|[0-9a-f]{40}")
_WORDS = re.compile(r"[\w.: -]{0,60}", re.ASCII)
_FILE = re.compile(r"[\w.-]{1,200}\.gguf", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_BYTES = 1 << 46


@dataclass(frozen=True)
class CatalogFile:
    """What is publicly known of one file; None or empty where it is not."""

    name: str
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Shape:
    """What the memory and the speed of a model depend on, beside the size of its file."""

    layers: int
    kv_heads: int
    head_dim: int
    context: int  # tokens that it was trained for
    window: int = 0  # tokens that layers with a window see
    window_layers: int = 0  # how many do
    active: float = 1.0  # share of the weights that a token needs, of a mixture of experts


@dataclass(frozen=True)
class CatalogModel:
    """One size of a family."""

    name: str  # "qwen3:4b"
    repo: str  # on the Hugging Face hub
    quant: str  # of the short name, "Q4_K_M"
    licence: str  # SPDX, or the name that its owner gave it
    chat: str  # family of its chat format; "" for what is no chat model
    architecture: str  # `general.architecture` of its files
    revision: str = "main"  # a commit where the files are known
    draft: str | None = None  # name of a smaller model with the same tokens, for speculation
    files: Mapping[str, CatalogFile] = field(default_factory=dict)  # by quant
    shape: Shape | None = None

    @property
    def is_runnable(self) -> bool:
        """Whether edgeinfer has an engine for it; others may."""
        from edgeinfer.models import FAMILIES

        return self.architecture in FAMILIES

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
        parts = tag.replace(":", "-").split("-")  # both sizes and quantizations may have a hyphen
        for n in range(len(parts)):
            size, quant = "-".join(parts[:n]) or default, "-".join(parts[n:])
            model = self.models.get(f"{family}:{size}")
            if model and quant_of(quant) == spelled(quant):
                return model, spelled(quant)
        return None

    def of_repo(self, repo: str) -> CatalogModel | None:
        """The model that a repository holds."""
        return next((model for model in self.models.values() if model.repo.lower() == repo.lower()), None)


@functools.cache
def catalog() -> Catalog:
    """What ships inside the package. Raises IntegrityError if somebody broke it."""
    import edgeinfer.models

    text = (Path(edgeinfer.models.__path__[0]) / "catalog.toml").read_text(encoding="utf-8")
    return read_catalog(text)


def read_catalog(text: str) -> Catalog:
    """Read the TOML of a catalog; see the head of models/catalog.toml for its form.

    Raises:
        IntegrityError: it is not of that form. What becomes part of paths and addresses is looked at closely.
    """
    models, defaults = {}, {}
    try:
        for family, table in tomllib.loads(text).items():
            sizes: dict[str, dict[str, Any]] = {k: v for k, v in table.items() if k not in _OF_FAMILY}
            shared = {k: v for k, v in table.items() if k in _OF_FAMILY}
            defaults[family] = f"{shared.pop('default')}"
            for size, row in sizes.items():
                model = _model(f"{family}:{size}", {**shared, **row})
                models[model.name] = model
            if f"{family}:{defaults[family]}" not in models:
                raise ValueError(f"{family} has no {defaults[family]}")
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise IntegrityError(f"catalog.toml is damaged: {error}", hint="install edgeinfer again") from error
    return Catalog(models, defaults)


def _model(name: str, row: dict[str, Any]) -> CatalogModel:
    """A row of the file as a record. Raises ValueError, TypeError or AttributeError for a strange one."""
    files = {quant: _file(CatalogFile(**file)) for quant, file in row.pop("files", {}).items()}
    shape = Shape(**row.pop("shape")) if "shape" in row else None
    model = CatalogModel(name=name, files=files, shape=shape, **row)
    _require(name, _NAME)
    _require(model.repo, REPO)
    _require(model.revision, _REVISION)
    for text in (model.licence, model.chat, model.architecture, model.draft or "", model.quant, *files):
        _require(text, _WORDS)
    if shape is not None and not all(n >= 0 for n in astuple(shape)):
        raise ValueError(f"{name} has the shape {shape}")
    return model


def _file(file: CatalogFile) -> CatalogFile:
    _require(file.name, _FILE)
    _require(file.sha256 or "0" * 64, _SHA256)
    if not 0 <= (file.size_bytes or 0) < _MOST_BYTES:
        raise ValueError(f"{file.name} has {file.size_bytes} bytes")
    return file


def _require(text: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(text) or ".." in text:
        raise ValueError(f"{text!r:.60} should not be there")
