"""Models put where other programs put them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def in_the_cache(
    home: Path, repo: str, file: str, model: Path, more: bytes = b"", commit: str = "c" * 40
) -> Path:
    """Put a model where huggingface_hub does. Returns its link."""
    data = model.read_bytes() + more
    folder = home / ".cache/huggingface/hub" / ("models--" + repo.replace("/", "--"))
    blob = folder / "blobs" / hashlib.sha256(data).hexdigest()
    place = folder / "snapshots" / commit / file
    for path in (blob, place, folder / "refs/main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    (folder / "refs/main").write_text(commit)
    place.symlink_to(os.path.relpath(blob, place.parent))
    return place


def in_ollama(
    home: Path,
    model: str,
    file: Path,
    name: str = "registry.ollama.ai/library/{}/latest",
    told: Mapping[str, Any] | None = None,
) -> Path:
    """Put a model where `ollama pull` does. Returns its blob.

    Args:
        told: other layers by the ends of their types, as "system" and "params"; what is no text is JSON.
    """
    store = home / ".ollama/models"
    manifest = store / "manifests" / name.format(model)
    for folder in (store / "blobs", manifest.parent):
        folder.mkdir(parents=True, exist_ok=True)

    def layer(kind: str, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (store / "blobs" / f"sha256-{digest}").write_bytes(data)
        media = f"application/vnd.ollama.image.{kind}"
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)}

    weights = layer("model", file.read_bytes())
    texts = {kind: v if isinstance(v, str) else json.dumps(v) for kind, v in (told or {}).items()}
    layers = [weights, *(layer(kind, text.encode()) for kind, text in texts.items())]
    layers += [
        {**layers[0], "mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "1" * 64}
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return store / "blobs" / weights["digest"].replace(":", "-")


def copy(source: Path, place: Path, n_bytes: int | None = None) -> Path:
    """Put the first bytes of a file somewhere, all by default. Returns the place."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(source.read_bytes()[:n_bytes])
    return place
