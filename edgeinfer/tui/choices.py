"""The models that can be chosen: those of this machine, and those that can be fetched by a short name."""

from __future__ import annotations

from dataclasses import dataclass

from edgeinfer.errors import NotFound
from edgeinfer.hub.catalog import catalog
from edgeinfer.hub.names import BUNDLED, Address, HubName, find_model, locate, parse
from edgeinfer.hub.store import local_models
from edgeinfer.machine import memory


@dataclass(frozen=True)
class Choice:
    """A model to talk with."""

    name: str
    size_bytes: int | None  # None: not known
    source: str  # where it lies, or its licence
    is_here: bool
    fits: bool = True  # into the memory of this machine


def choices() -> list[Choice]:
    """All of them, those of this machine first. Reads headers: 1 ms a model."""
    total = memory().total
    bundled = [Choice(name, locate(name).path.stat().st_size, "in the package", True) for name in BUNDLED]
    here = local_models()
    found = [Choice(m.name, m.size_bytes, m.store, True, m.size_bytes < total) for m in here]
    names = {name for model in here for name in model.names}
    absent = []
    for model in catalog().models.values():
        file = model.files.get(model.quant)
        size = file.size_bytes if file else None
        if model.name not in names and model.chat:
            absent.append(Choice(model.name, size, model.licence, False, (size or 0) < total))
    return [*bundled, *found, *absent]


def is_elsewhere(name: str) -> bool:
    """Whether a name means a model that is not here, but may be fetched."""
    try:
        find_model(name)
    except NotFound:
        return isinstance(parse(name), HubName | Address)
    return False


def suggested() -> list[str]:
    """Names of the three largest chat models of the catalog that leave half of the memory to others."""
    room = memory().total / 2
    sizes = {
        m.name: m.files[m.quant].size_bytes
        for m in catalog().models.values()
        if m.chat and m.quant in m.files
    }
    fitting = [(size, name) for name, size in sizes.items() if size is not None and size < room]
    return [name for _, name in sorted(fitting)[-3:]]
