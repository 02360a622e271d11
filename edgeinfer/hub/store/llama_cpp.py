"""llama.cpp's own cache: `user_repo_file.gguf` beside `manifest=user=repo=tag.json`.

Today's llama.cpp keeps what `-hf` fetches in the Hugging Face cache; these are from before.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeinfer.hub import folders
from edgeinfer.hub.store.model import LocalModel, of_files
from edgeinfer.hub.variants import variants


def models() -> Iterator[LocalModel]:
    """All GGUF models in it; without a manifest they are called by their file."""
    root = folders.llama_cpp()
    repos = _repos(root)
    for variant in variants(path.name for path in folders.inside(root, "*.gguf")):
        first = variant.files[0]
        repo = next((repo for repo in repos if first.startswith(repo.replace("/", "_") + "_")), None)
        name = f"{repo}:{variant.quant}" if repo and variant.quant else Path(first).stem
        files = tuple(root / file for file in variant.files)
        yield from of_files("llama.cpp", files, (name,), repo, variant.quant)


def _repos(root: Path) -> list[str]:
    """Of the manifests, the longest first: one may begin with another's name."""
    parts = (path.stem.split("=") for path in folders.inside(root, "manifest=*=*=*.json"))
    return sorted({f"{part[1]}/{part[2]}" for part in parts if len(part) == 4}, key=len, reverse=True)
