"""A model on this machine, and how it is called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeinfer.errors import EdgeInferError
from edgeinfer.hub import folders
from edgeinfer.hub.catalog import catalog
from edgeinfer.hub.located import Located
from edgeinfer.hub.modelfile import Modelfile
from edgeinfer.hub.variants import Variant, variants

StoreName = Literal["edgeinfer", "huggingface", "lm-studio", "llama.cpp", "ollama"]


@dataclass(frozen=True)
class LocalModel:
    """A model that is here in full."""

    names: tuple[str, ...]  # all that it answers to; the first is shown
    files: tuple[Path, ...]  # its shards in order
    store: StoreName
    size_bytes: int
    modified: float  # seconds since the epoch
    repo: str | None = None  # "user/repo" on the hub, where that is known
    quant: str = ""  # as variants.spelled writes it
    sha256: str | None = None  # of a single file, where its store tells
    modelfile: Modelfile | None = None  # what it was created with; its base is the path

    @property
    def name(self) -> str:
        """How people call it."""
        return self.names[0]

    @property
    def path(self) -> Path:
        """What to open: the file, or its first shard."""
        return self.files[0]

    @property
    def located(self) -> Located:
        """As `load` takes it."""
        return Located(self.path, self.name, self.modelfile)

    @property
    def key(self) -> object:
        """Equal for one model in several stores: its name on the hub, or in its store."""
        return self.path if self.store == "edgeinfer" else self.names[-1].lower()

    def is_sound(self) -> bool:
        """Whether all that the header speaks of is in the files."""
        from edgeinfer import _native

        try:
            _native.gguf_open(str(self.path))
        except (EdgeInferError, UnicodeError):
            return False
        return True


def of_folder(store: StoreName, folder: Path, repo: str) -> Iterator[LocalModel]:
    """The models in a folder that holds files of one repository."""
    found = variants(path.relative_to(folder).as_posix() for path in folders.inside(folder, "**/*.gguf"))
    alike = Counter(variant.quant for variant in found)
    for variant in found:
        yield from of_files(
            store,
            tuple(folder / file for file in variant.files),
            _names(repo, variant, is_only=alike[variant.quant] == 1),
            repo,
            variant.quant,
        )


def of_files(
    store: StoreName,
    files: tuple[Path, ...],
    names: Iterable[str],
    repo: str | None = None,
    quant: str = "",
    modelfile: Modelfile | None = None,
) -> Iterator[LocalModel]:
    """The model in these files; none if one is gone."""
    try:
        info = [path.stat() for path in files]
        digest = digest_of(files[0].resolve(strict=True)) if len(files) == 1 else None
    except (OSError, RuntimeError):  # dangling, or links in a circle
        return
    size, modified = sum(i.st_size for i in info), max(i.st_mtime for i in info)
    yield LocalModel(tuple(names), files, store, size, modified, repo, quant, digest, modelfile)


def digest_of(blob: Path) -> str | None:
    """The sha256 in the name of a file, as the Hugging Face cache and Ollama write it."""
    digest = blob.name.removeprefix("sha256-")
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else None


def _names(repo: str, variant: Variant, *, is_only: bool) -> Iterator[str]:
    """The short name of the catalog if it has one, and the name on the hub."""
    known = catalog().of_repo(repo)
    if not is_only or not variant.quant:
        yield f"{repo}/{variant.files[0]}"
        return
    if known is not None:
        yield known.name_of(variant.quant)
    yield f"{repo}:{variant.quant}"
