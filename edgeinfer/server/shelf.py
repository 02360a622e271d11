"""What lies on this machine and can be served by its name. Names only: no client names a path."""

from __future__ import annotations

from edgeinfer.errors import NotFound
from edgeinfer.hub.located import Located
from edgeinfer.hub.names import BUNDLED, find_local, locate
from edgeinfer.hub.store import local_models


def find_on_shelf(name: str) -> Located:
    """The model that a client means. Raises NotFound, AmbiguousName."""
    plain = plain_name(name)
    if plain in BUNDLED:
        return locate(plain)
    try:
        return find_local(name).located
    except NotFound:
        return find_local(plain).located


def whole_shelf() -> list[Located]:
    """All of them."""
    return [*map(locate, BUNDLED), *(model.located for model in local_models())]


def plain_name(name: str) -> str:
    """Equal for all spellings of a name: clients of Ollama add `:latest`, others the ending of the file."""
    return name.casefold().removesuffix(":latest").removesuffix(".gguf")
