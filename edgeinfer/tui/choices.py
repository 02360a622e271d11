"""The models that can be chosen, and what to expect of each on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeinfer.errors import EdgeInferError, NotFound
from edgeinfer.hub.catalog import CatalogModel, catalog
from edgeinfer.hub.estimate import estimate
from edgeinfer.hub.fit import Fit, fit_file, usual_use
from edgeinfer.hub.names import BUNDLED, Address, HubName, find_model, locate, parse
from edgeinfer.hub.store import local_models
from edgeinfer.text.safe import safe_text

if TYPE_CHECKING:
    from edgeinfer.bench.speed import Speed

_MOST_OF_MEMORY = 0.5  # of what is free, for models that are suggested
_PLEASANT_PER_S = 6.0  # tokens: as fast as people read
_USUAL_BYTES_PER_S = 30e9  # of memory, where it was not measured: a laptop of 2020
_N_SUGGESTED = 3


@dataclass(frozen=True)
class Choice:
    """A model to talk with."""

    name: str
    size_bytes: int | None  # None: not known
    source: str  # whose folder it is in, or which repository
    path: Path | None = None  # None: it would have to be fetched
    entry: CatalogModel | None = None  # of those
    is_served: bool = False  # a server has it

    @property
    def is_here(self) -> bool:
        """Whether it can be opened, and has not to be fetched."""
        return self.path is not None or self.is_served

    @property
    def is_runnable(self) -> bool:
        """Whether edgeinfer has an engine for it, as far as that is known before its file is."""
        return self.entry is None or self.entry.is_runnable


@dataclass(frozen=True)
class Outlook:
    """What to expect of a model."""

    # "fits", "tight", "does not fit"; "cannot run"; "open", "closed" at a server; "" where nothing is known
    verdict: str
    told: str  # the same in a line or two
    facts: str  # what it is
    tokens_per_s: float | None = None  # of one answer; None: this machine was not measured, or it cannot run


def choices() -> list[Choice]:
    """All of them, those of this machine first. Reads headers: 1 ms a model."""
    found = []
    for name in BUNDLED:
        path = locate(name).path
        found.append(Choice(name, path.stat().st_size, "in the package", path))
    here = local_models()
    found += [Choice(m.name, m.size_bytes, m.store, m.path) for m in here]
    names = {name for model in here for name in model.names}
    for entry in catalog().models.values():
        if entry.name not in names and entry.chat:
            file = entry.files.get(entry.quant)
            found.append(Choice(entry.name, file.size_bytes if file else None, entry.repo, None, entry))
    return found


def outlook(choice: Choice, speed: Speed | None) -> Outlook:
    """From the header of its file, 1 ms; about, from the catalog, of one that is elsewhere."""
    if choice.path is not None:
        return _of_file(choice.path, choice.name, speed)
    assert choice.entry is not None, "what is not here is in the catalog"
    return _of_catalog(choice.entry, speed)


def suggested(found: Sequence[Choice]) -> list[Choice]:
    """Up to three to fetch, of several makers: the largest that answers as fast as people read."""
    from edgeinfer.bench.speed import stored_speed

    use, speed = usual_use(), stored_speed()
    chosen: dict[str, tuple[str, int, Choice]] = {}  # by chat format: family, bytes
    for choice in found:
        entry = choice.entry
        fit = estimate(entry, use) if entry is not None and entry.is_runnable else None
        if entry is None or fit is None or not _is_pleasant(fit, speed):
            continue
        family = choice.name.partition(":")[0]
        before, size_bytes, _ = chosen.get(entry.chat, (family, 0, choice))
        if family == before and fit.weight_bytes > size_bytes:
            chosen[entry.chat] = family, fit.weight_bytes, choice
    return [choice for _, _, choice in chosen.values()][:_N_SUGGESTED]


def _is_pleasant(fit: Fit, speed: Speed | None) -> bool:
    per_s = _USUAL_BYTES_PER_S / fit.work.bytes_per_step if speed is None else speed.decode(fit.work)
    return per_s >= _PLEASANT_PER_S and fit.total_bytes <= _MOST_OF_MEMORY * fit.memory.available


def is_elsewhere(name: str) -> bool:
    """Whether a name means a model that is not here, but may be fetched."""
    try:
        find_model(name)
    except NotFound:
        return isinstance(parse(name), HubName | Address)
    return False


def _of_file(path: Path, name: str, speed: Speed | None) -> Outlook:
    from edgeinfer import _native
    from edgeinfer.facts import Facts

    told = ""
    try:
        facts = Facts(_native.gguf_open(str(path)))
        told = _facts(
            facts.architecture,
            f"{_in_short(facts.n_parameters)} parameters",
            facts.quantization,
            f"context {facts.count('context_length') or 0:,}",
            facts.text("general.license"),
        )
        if facts.is_embedder:
            return Outlook("no chat", "it gives vectors of texts, no answers: `edgeinfer serve`", told)
        return _expected(fit_file(path, name, usual_use()), speed, told)
    except EdgeInferError as error:
        return Outlook("cannot run", safe_text(error.message), told)


def _of_catalog(entry: CatalogModel, speed: Speed | None) -> Outlook:
    context = f"context {entry.shape.context:,}" if entry.shape is not None else ""
    told = _facts(entry.architecture, entry.quant, context, entry.licence, entry.repo)
    if not entry.is_runnable:
        return Outlook("cannot run", f"edgeinfer has no engine for {entry.architecture} models yet", told)
    fit = estimate(entry, usual_use())
    if fit is None:
        return Outlook("", "its size is told before it is fetched", told)
    return _expected(fit, speed, told)


def _expected(fit: Fit, speed: Speed | None, facts: str) -> Outlook:
    per_s = None if speed is None else speed.decode(fit.work)
    told = fit.summary(speed)
    if fit.verdict == "does not fit":
        told = f"{told}; {fit.advice}"
    return Outlook(fit.verdict, safe_text(told), facts, per_s)


def _facts(*parts: str) -> str:
    return safe_text(" \u00b7 ".join(filter(None, parts)))


def _in_short(n: int) -> str:
    """As people call sizes of models: 4.0B, 135M."""
    return f"{n / 1e9:.1f}B" if n >= 1e9 else f"{n / 1e6:.0f}M"
