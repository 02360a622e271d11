"""Ollama's store: `manifests/<host>/<namespace>/<model>/<tag>` names layers in `blobs/sha256-<digest>`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeinfer.hub import folders
from edgeinfer.hub.modelfile import Modelfile, from_json
from edgeinfer.hub.store.model import LocalModel, of_files
from edgeinfer.hub.variants import spelled

_MOST_BYTES = 1 << 20  # of a manifest
_KIND = "application/vnd.ollama.image."
_WEIGHTS = f"{_KIND}model"
_ADAPTER = f"{_KIND}adapter"  # without it the model would be another
_TOLD = {f"{_KIND}params": "parameters", f"{_KIND}system": "system", f"{_KIND}messages": "messages"}

Layers = list[tuple[str, str, int]]  # (media type, digest, bytes)


def models() -> Iterator[LocalModel]:
    """All models of all its stores whose weights are one GGUF file."""
    for root in folders.ollama():
        for manifest in folders.inside(root / "manifests", "*/*/*/*"):
            found = _read(root, manifest)
            if found is not None:
                blob, modelfile = found
                host, namespace, model, tag = manifest.parts[-4:]
                on_hub = host in ("hf.co", "huggingface.co")
                repo, quant = (f"{namespace}/{model}", spelled(tag)) if on_hub else (None, "")
                names = _names(*manifest.parts[-4:])
                yield from of_files("ollama", (blob,), names, repo, quant, modelfile)


def _read(root: Path, manifest: Path) -> tuple[Path, Modelfile | None] | None:
    """The file of weights that a manifest speaks of, if it is whole, and what the model was told."""
    try:
        if manifest.stat().st_size > _MOST_BYTES:
            return None
        layers = _layers(json.loads(manifest.read_text()))
        weights = [digest for kind, digest, _ in layers if kind == _WEIGHTS]
        if len(weights) != 1 or any(kind == _ADAPTER for kind, _, _ in layers):
            return None
        blob = root / "blobs" / weights[0].replace(":", "-")
        size = next(size for kind, _, size in layers if kind == _WEIGHTS)
        return (blob, _modelfile(root, layers, blob)) if blob.stat().st_size == size else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # not a manifest, or not a whole model


def _modelfile(root: Path, layers: Layers, weights: Path) -> Modelfile | None:
    """The parameters, the system message and the first messages; None: there are none.

    The template is not read: it is a Go template, and the file of weights has the model's own.
    """
    told = {
        _TOLD[kind]: _layer(root / "blobs" / digest.replace(":", "-"), size)
        for kind, digest, size in layers
        if kind in _TOLD
    }
    if not told:
        return None
    read = {name: text if name == "system" else json.loads(text) for name, text in told.items()}
    return from_json(str(weights), read)


def _layer(blob: Path, size: int) -> str:
    """A text. Raises OSError, ValueError: it is not whole, or none."""
    if size > _MOST_BYTES or not blob.is_file() or blob.stat().st_size != size:
        raise ValueError(blob)
    return blob.read_bytes().decode()


def _layers(manifest: Any) -> Layers:
    """A digest becomes a path, so it must look like one."""
    layers = [(row["mediaType"], row["digest"], row["size"]) for row in manifest["layers"]]
    for _, digest, _ in layers:
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise ValueError(digest)
    return layers


def _names(host: str, namespace: str, model: str, tag: str) -> list[str]:
    """As Ollama shows it: without what is usual; then as the hub calls it."""
    if host == "registry.ollama.ai":
        return [f"{model}:{tag}" if namespace == "library" else f"{namespace}/{model}:{tag}"]
    return [f"{host}/{namespace}/{model}:{tag}", f"{namespace}/{model}:{tag}"]
