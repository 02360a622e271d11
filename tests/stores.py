"""Models put where other programs put them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path


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


def in_ollama(home: Path, model: str, file: Path, name: str = "registry.ollama.ai/library/{}/latest") -> Path:
    """Put a model where `ollama pull` does. Returns its blob."""
    data = file.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    store = home / ".ollama/models"
    blob, manifest = store / "blobs" / f"sha256-{digest}", store / "manifests" / name.format(model)
    for path in (blob, manifest):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    layers = [
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(data)},
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "1" * 64, "size": 10},
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    return blob


def copy(source: Path, place: Path, n_bytes: int | None = None) -> Path:
    """Put the first bytes of a file somewhere, all by default. Returns the place."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(source.read_bytes()[:n_bytes])
    return place
