"""LM Studio's folders: `<publisher>/<repository>/<file>.gguf`, as on the hub."""

from __future__ import annotations

from collections.abc import Iterator

from edgeinfer.hub import folders
from edgeinfer.hub.store.model import LocalModel, of_folder


def models() -> Iterator[LocalModel]:
    """All GGUF models in them."""
    seen = set()
    for root in folders.lm_studio():
        for folder in folders.inside(root, "*/*/"):
            if folder.resolve() not in seen:
                seen.add(folder.resolve())
                yield from of_folder("lm-studio", folder, f"{folder.parent.name}/{folder.name}")
