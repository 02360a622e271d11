"""Whether a model fits into the memory of this machine, before it is fetched or loaded.

fit = fit_model("qwen3:4b")     # its header comes from the hub, or from the file if it is here
fit.verdict                     # "fits", "tight" or "does not fit"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from edgeinfer import machine
from edgeinfer.backends.plan import default_context, kv_bytes, work_bytes
from edgeinfer.bench.work import Work, work_of
from edgeinfer.errors import InvalidRequest, NotFound
from edgeinfer.hub.header import remote_header
from edgeinfer.hub.names import locate
from edgeinfer.hub.pull import Plan, plan_pull
from edgeinfer.settings import KvType, Settings

if TYPE_CHECKING:
    from edgeinfer._native import GgufFile

Verdict = Literal["fits", "tight", "does not fit"]

_TIGHT = 0.9  # of what is available


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


@dataclass(frozen=True)
class Use:
    """How a model will be used."""

    context_length: int | None = None  # None: what `run` would take
    parallel: int = 1
    kv_type: KvType = "f16"


def usual_use() -> Use:
    """One request at once, as the environment sets it."""
    settings = Settings.from_environment()
    return Use(settings.context_length, kv_type=settings.kv_type)


def fit_model(name: str, use: Use) -> Fit:
    """Of a model on this machine, else of one on the hub, of which only the header is fetched.

    Raises:
        BadModelFile, UnsupportedModel: edgeinfer cannot run it.
        InvalidRequest: the context or the number of requests makes no sense.
        What `locate`, `plan_pull` and `header.remote_header` raise.
    """
    from edgeinfer import _native

    try:
        path, called = locate(name)
    except NotFound as missing:
        try:
            plan = plan_pull(name)
        except NotFound:
            raise missing from None
        return fit_plan(plan, use)
    return _fit(_native.gguf_open(str(path)), called, use, {})


def fit_plan(plan: Plan, use: Use) -> Fit:
    """Of what a pull would fetch. Raises like `fit_model`."""
    with remote_header([item.file for item in plan.items]) as file:
        return _fit(file, plan.name, use, plan.sizes, plan.size_bytes)


def _fit(file: GgufFile, name: str, use: Use, sizes: Mapping[str, int], file_bytes: int | None = None) -> Fit:
    from edgeinfer.models import load_spec

    spec, memory = load_spec(file, use.context_length), machine.memory()
    weights = file.size_bytes if file_bytes is None else file_bytes
    context = use.context_length
    if use.parallel < 1:
        raise InvalidRequest(f"parallel must be positive, not {use.parallel}")
    if context is None:
        room = memory.available - weights - work_bytes(spec, spec.n_ctx_train)
        context = default_context(spec, use.kv_type, room // use.parallel)
    elif not 2 <= context <= spec.n_ctx_train:
        raise InvalidRequest(f"this model has a context of 2 to {spec.n_ctx_train} tokens, not {context}")
    return Fit(
        name,
        context,
        use.parallel,
        use.kv_type,
        weights,
        use.parallel * kv_bytes(spec, use.kv_type, context),
        work_bytes(spec, context),
        memory,
        work_of(file, spec, use.kv_type),
        sizes,
    )
