"""The Hugging Face cache: `models--user--repo/snapshots/<commit>` links to `blobs`, `refs` names commits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeinfer.disk import changing
from edgeinfer.hub import folders
from edgeinfer.hub.store.model import LocalModel, of_folder


def models() -> Iterator[LocalModel]:
    """All GGUF models in it, each file once, of the newest snapshot that has it."""
    for folder in folders.inside(folders.huggingface_cache(), "models--*--*/"):
        seen: set[tuple[str, ...]] = set()
        for snapshot in _snapshots(folder):
            for model in of_folder("huggingface", snapshot, repo_of(folder)):
                files = tuple(path.relative_to(snapshot).as_posix() for path in model.files)
                if files not in seen:
                    seen.add(files)
                    yield model


def repo_folder(repo: str) -> Path:
    """Where a repository of the hub lies in the cache."""
    return folders.huggingface_cache() / ("models--" + repo.replace("/", "--"))


def repo_of(folder: Path) -> str:
    """The opposite of `repo_folder`."""
    return folder.name.removeprefix("models--").replace("--", "/", 1)


def remove(model: LocalModel) -> int:
    """Remove the files of a model and the links to them. Returns the bytes that this frees.

    A blob that something else in the cache links to stays.

    Raises:
        DiskError.
    """
    assert model.repo is not None
    folder = repo_folder(model.repo)
    with changing(folder):
        blobs = {path.resolve(): path.stat().st_size for path in model.files}
        names = [path.relative_to(folder / "snapshots").parts[1:] for path in model.files]
        for snapshot in (folder / "snapshots").iterdir():
            for link in (snapshot.joinpath(*parts) for parts in names):
                if link.resolve() in blobs:
                    link.unlink()
        used = {path.resolve() for path in (folder / "snapshots").rglob("*") if path.is_symlink()}
        unused = [blob for blob in blobs if blob not in used and blob.is_relative_to(folder.resolve())]
        for blob in unused:
            blob.unlink(missing_ok=True)
    return sum(blobs[blob] for blob in unused)


def _snapshots(folder: Path) -> list[Path]:
    """That of the main branch first, then the newest."""
    try:
        main = (folder / "refs/main").read_text().strip()
    except (OSError, ValueError):
        main = ""
    found = folders.inside(folder / "snapshots", "*/")
    return sorted(found, key=lambda path: (path.name == main, path.stat().st_mtime), reverse=True)
