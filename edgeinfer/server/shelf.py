"""What lies on this machine and can be served by its name. Names only: no client names a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeinfer.errors import NotFound
from edgeinfer.hub.names import BUNDLED, find_local, find_model
from edgeinfer.hub.store import local_models


@dataclass(frozen=True)
class OnShelf:
    """A model that nobody has opened yet."""

    name: str
    path: Path  # of its file or first shard


def find_on_shelf(name: str) -> OnShelf:
    """The model that a client means. Raises NotFound, AmbiguousName."""
    plain = plain_name(name)
    if plain in BUNDLED:
        return _bundled(plain)
    try:
        model = find_local(name)
    except NotFound:
        model = find_local(plain)
    return OnShelf(model.name, model.path)


def whole_shelf() -> list[OnShelf]:
    """All of them."""
    return [*map(_bundled, BUNDLED), *(OnShelf(model.name, model.path) for model in local_models())]


def plain_name(name: str) -> str:
    """Equal for all spellings of a name: clients of Ollama add `:latest`, others the ending of the file."""
    return name.casefold().removesuffix(":latest").removesuffix(".gguf")


def _bundled(name: str) -> OnShelf:
    return OnShelf(name, find_model(name))
