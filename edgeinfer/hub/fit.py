"""Whether a model fits into the memory of this machine, before it is fetched or loaded.

fit = fit_model("qwen3:4b", usual_use())  # its header comes from the hub, or from the file if it is here
fit = fit_file(path, name, usual_use())   # of a file: 1 ms; `estimate` tells of one that is not here
fit.verdict                               # "fits", "tight" or "does not fit"
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from edgeinfer import machine
from edgeinfer.backends.plan import default_context, filled_kv_bytes, work_bytes
from edgeinfer.bench.work import Work, work_of
from edgeinfer.config.sources import read_settings
from edgeinfer.config.table import KvType
from edgeinfer.errors import AccessDenied, InvalidRequest, NetworkError, NotFound, UnsupportedModel
from edgeinfer.hub.located import longest_context
from edgeinfer.hub.names import locate
from edgeinfer.text.sizes import in_bytes

if TYPE_CHECKING:
    from edgeinfer._native import GgufFile
    from edgeinfer.bench.speed import Speed
    from edgeinfer.hub.pull import Plan

Verdict = Literal["fits", "tight", "does not fit"]

_TIGHT = 0.9  # of what is available
_SERVER_BYTES = 25 << 20  # what `edgeinfer serve` has beside what `run` has: many at once are its business


@dataclass(frozen=True)
class Fit:
    """Bytes that a model takes when it runs, and those that there are."""

    name: str
    context_length: int  # tokens of one request
    parallel: int  # requests at once
    kv_type: KvType
    weight_bytes: int
    kv_bytes: int  # when all of those contexts are full
    work_bytes: int  # the process, and what it computes in
    memory: machine.Memory
    work: Work  # of a token
    sizes: Mapping[str, int] = field(default_factory=dict)  # other variants on the hub, name -> bytes
    is_estimate: bool = False  # not from the header of the file

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weight_bytes + self.kv_bytes + self.work_bytes

    @property
    def verdict(self) -> Verdict:
        """Tight: little is left for anything else."""
        if self.total_bytes > self.memory.available:
            return "does not fit"
        return "tight" if self.total_bytes > _TIGHT * self.memory.available else "fits"

    @property
    def smaller(self) -> str | None:
        """The largest variant of the same repository that fits, if this one does not."""
        room = self.memory.available - self.kv_bytes - self.work_bytes
        fitting = [name for name, size in self.sizes.items() if size <= room]
        return max(fitting, key=lambda name: self.sizes[name], default=None)

    def summary(self, speed: Speed | None) -> str:
        """One line: what it takes, what there is and, on a machine that was measured, how fast it will be."""
        about = "about " if self.is_estimate else ""
        needed, free = in_bytes(self.total_bytes), in_bytes(self.memory.available)
        line = f"{self.verdict}: {about}{needed} of {free} free at {self.context_length} tokens of context"
        if speed is None:
            return line
        return f"{line}, about {speed.decode(self.work):.0f} tokens/s, prompts {speed.prefill(self.work):.0f}"

    @property
    def advice(self) -> str:
        """What to do if it does not fit."""
        if self.smaller is not None:
            return f"{self.smaller} fits"
        return "close other programs, or use a smaller context, --kv-type q8_0 or iq4_nl, a smaller model"


@dataclass(frozen=True)
class Use:
    """How a model will be used."""

    context_length: int | None = None  # None: what `run` would take
    parallel: int = 1
    kv_type: KvType = "f16"
    usual_context: int | None = None  # what is set for all models: less for one that has less

    def __post_init__(self) -> None:
        """Check what needs no model."""
        if self.parallel < 1:
            raise InvalidRequest(f"parallel must be positive, not {self.parallel}")


def usual_use() -> Use:
    """One request at once, as it is set."""
    settings = read_settings()
    return Use(kv_type=settings.kv_type, usual_context=settings.context_length)


def fit_model(name: str, use: Use) -> Fit:
    """Of a model on this machine, else of one on the hub, of which only the header is fetched.

    Without a network it is about what the catalog knows of it.

    Raises:
        BadModelFile, UnsupportedModel: edgeinfer cannot run it.
        InvalidRequest: the context makes no sense.
        What `locate`, `plan_pull` and `header.remote_header` raise.
    """
    try:
        found = locate(name)
    except NotFound as missing:
        return _elsewhere(name, use, missing)
    told = dict(found.defaults().loading)
    if use.context_length is None and "context_length" in told:
        use = replace(use, context_length=told["context_length"])
    return fit_file(found.path, found.name, use)


def _elsewhere(name: str, use: Use, missing: NotFound) -> Fit:
    from edgeinfer.hub.pull import plan_pull

    try:
        return fit_plan(plan_pull(name), use)
    except NotFound:
        raise missing from None
    except AccessDenied:
        raise
    except NetworkError:
        about = _of_catalog(name, use)
        if about is None:
            raise
        return about


def _of_catalog(name: str, use: Use) -> Fit | None:
    from edgeinfer.hub.catalog import catalog
    from edgeinfer.hub.estimate import estimate

    model, quant = catalog().lookup(name) or (None, "")
    return estimate(model, use) if model is not None and quant == model.quant else None


def fit_file(path: str | os.PathLike[str], name: str, use: Use) -> Fit:
    """Of a file on this machine, of which only the header is read. Raises like `fit_model`."""
    from edgeinfer import _native

    return _fit(_native.gguf_open(os.fspath(path)), name, use, {})


def fit_plan(plan: Plan, use: Use) -> Fit:
    """Of what a pull would fetch. Raises like `fit_model`."""
    from edgeinfer.hub.header import remote_header
    from edgeinfer.models import FAMILIES

    if plan.architecture not in (None, *FAMILIES):
        raise UnsupportedModel(
            f"{plan.name} is a {plan.architecture} model, which edgeinfer does not run yet",
            hint="supported are " + ", ".join(FAMILIES),
        )
    with remote_header([item.file for item in plan.items]) as file:
        return _fit(file, plan.name, use, plan.sizes, plan.size_bytes)


def _fit(file: GgufFile, name: str, use: Use, sizes: Mapping[str, int], file_bytes: int | None = None) -> Fit:
    from edgeinfer.models import load_spec

    if use.context_length is None and use.usual_context is not None:
        use = replace(use, context_length=min(use.usual_context, longest_context(file)))
    spec, memory = load_spec(file, use.context_length), machine.memory()
    work = work_of(file, spec, use.kv_type)
    _refuse_types(name, work)
    weights = file.size_bytes if file_bytes is None else file_bytes
    context, room = use.context_length, memory.available - weights
    if context is None:
        room_of_one = (room - work_bytes(spec, spec.n_ctx_train)) // use.parallel
        context = default_context(spec, use.kv_type, room_of_one)
    elif not 2 <= context <= spec.n_ctx_train:
        raise InvalidRequest(f"this model has a context of 2 to {spec.n_ctx_train} tokens, not {context}")
    scratch = work_bytes(spec, context) + (_SERVER_BYTES if use.parallel > 1 else 0)
    return Fit(
        name,
        context,
        use.parallel,
        use.kv_type,
        weights,
        filled_kv_bytes(spec, use.kv_type, context, use.parallel, room - scratch),
        scratch,
        memory,
        work,
        sizes,
    )


def _refuse_types(name: str, work: Work) -> None:
    from edgeinfer import _native

    foreign = work.step_values.keys() - set(_native.bench.TENSOR_TYPES)
    if foreign:
        types = ", ".join(sorted(foreign))
        raise UnsupportedModel(
            f"{name} has tensors of type {types}", hint="choose another quantization of it"
        )
