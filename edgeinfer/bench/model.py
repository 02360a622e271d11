"""`edgeinfer bench model`: a whole model, beside another engine if asked for, and the machine's limits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeinfer.bench.limits import LimitMeter
from edgeinfer.bench.machine import Disturbance, Watch
from edgeinfer.bench.peers import Peer, open_peer
from edgeinfer.bench.runner import BATCH_PROMPT, STEP_MARGIN, STEPS, EngineRunner, Measure
from edgeinfer.bench.work import Work, work_of

if TYPE_CHECKING:
    from edgeinfer._native import GgufFile
    from edgeinfer.models.spec import DecoderSpec

_SETTLE = 0.05  # seconds; the threads of an engine that has just worked may spin for some milliseconds


@dataclass
class Samples:
    """Figures of one engine for one measure, in tokens/s."""

    rates: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.rates)

    def as_json(self) -> dict[str, Any]:
        """Median, extremes and all."""
        return {
            "tokens_per_s": self.median,
            "least": min(self.rates),
            "most": max(self.rates),
            "all": self.rates,
        }

    def __str__(self) -> str:
        return f"{self.median:.1f} ({min(self.rates):.1f}-{max(self.rates):.1f})"


@dataclass
class Row:
    """One measure with one number of threads."""

    threads: int
    measure: Measure
    ours: Samples
    peer: Samples | None
    limit_name: str  # what bounds it: bandwidth or int8
    limit_percent: float  # of that, that we reach

    @property
    def ratio(self) -> float | None:
        """Ours to the peer's."""
        return None if self.peer is None else self.ours.median / self.peer.median

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "threads": self.threads,
            "measure": self.measure.name,
            "ms_per_step": 1e3 * self.measure.n / self.ours.median,
            "ours": self.ours.as_json(),
            "peer": None if self.peer is None else self.peer.as_json(),
            "ratio": self.ratio,
            f"{self.limit_name}_percent": self.limit_percent,
        }


@dataclass
class ProfileRow:
    """Where the time of some steps went; seconds of one step."""

    threads: int
    measure: Measure
    operation: str
    layer: int | None
    seconds: float


@dataclass
class ModelReport:
    """All that a run found."""

    model: str
    target: str
    peer: str | None
    repetitions: int
    rows: list[Row]
    profile: list[ProfileRow]
    disturbance: Disturbance

    def as_json(self) -> dict[str, Any]:
        """One document."""
        return {
            "model": self.model,
            "target": self.target,
            "peer": self.peer,
            "repetitions": self.repetitions,
            "disturbance": self.disturbance.as_json(),
            "rows": [row.as_json() for row in self.rows],
            "profile": [vars(p) | {"measure": p.measure.name} for p in self.profile],
        }


@dataclass(frozen=True)
class Plan:
    """What to measure."""

    threads: list[int]
    measures: list[Measure]
    repetitions: int
    profile: bool = False
    by_layer: bool = False

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        depths = [m.depth for m in self.measures]
        return max(depths + [m.n for m in self.measures if m.kind == "prefill"]) + STEP_MARGIN

    @property
    def crowd(self) -> int:
        """Sequences of the largest batch."""
        return max([m.n for m in self.measures if m.kind == "batch"], default=1)

    @property
    def n_ctx(self) -> int:
        """Tokens of all sequences that are kept at the same time."""
        kept = sum(m.depth + STEP_MARGIN for m in self.measures if m.kind == "decode")
        return self.longest + kept + self.crowd * (BATCH_PROMPT + STEP_MARGIN)

    @property
    def n_measurements(self) -> int:
        """For a progress bar."""
        return len(self.threads) * len(self.measures) * self.repetitions


def measure_model(
    path: str, plan: Plan, against: str | None, against_python: str | None, advance: Callable[[], None]
) -> ModelReport:
    """Run the plan.

    Args:
        path: the model file.
        against: another engine that takes turns with ours on the same file, see `open_peer`.
        against_python: the interpreter of that engine.
        advance: called after each measurement.

    Raises:
        EdgeInferError: the model cannot be opened, or the other engine fails.
    """
    from edgeinfer import _native, models

    file = _native.gguf_open(path)
    spec = models.load_spec(file, plan.longest)
    peer = open_peer(against, path, against_python, plan.n_ctx, plan.crowd) if against else None
    try:
        return _take_turns(file, spec, plan, peer, advance)
    finally:
        if peer is not None:
            peer.close()


def _take_turns(
    file: GgufFile, spec: DecoderSpec, plan: Plan, peer: Peer | None, advance: Callable[[], None]
) -> ModelReport:
    from edgeinfer import _native

    watch, work = Watch(), work_of(file, spec)
    rows: list[Row] = []
    profile: list[ProfileRow] = []
    for threads in plan.threads:
        runner, meter = _open_engine(file, spec, plan, threads), LimitMeter(threads)
        if peer is not None:
            peer.set_threads(threads)
        for measure in plan.measures:
            rows.append(_measure(runner, peer, meter, work, threads, measure, plan.repetitions, advance))
            if plan.profile:
                profile.extend(_profile(runner, threads, measure, plan.by_layer))
        runner.close()
    return ModelReport(
        model=str(file.path),
        target=_native.target(),
        peer=None if peer is None else peer.description,
        repetitions=plan.repetitions,
        rows=rows,
        profile=profile,
        disturbance=watch.stop(),
    )


def _open_engine(file: GgufFile, spec: DecoderSpec, plan: Plan, threads: int) -> EngineRunner:
    from edgeinfer import _native
    from edgeinfer.backends.native import NativeBackend

    blocks = -(-plan.n_ctx // _native.KV_BLOCK_TOKENS) + 2 * plan.crowd + 8
    return EngineRunner(NativeBackend(file, spec, n_threads=threads, n_ctx=plan.longest, n_blocks=blocks))


def _measure(
    runner: EngineRunner,
    peer: Peer | None,
    meter: LimitMeter,
    work: Work,
    threads: int,
    measure: Measure,
    repetitions: int,
    advance: Callable[[], None],
) -> Row:
    """Ours, the peer and the limit take turns; a first turn of both warms caches and is not counted."""
    runner.seconds(measure)
    comparable = peer is not None and peer.seconds(measure) is not None
    compute_bound = measure.kind == "prefill"
    ours, theirs, limits = Samples(), Samples(), []
    for _ in range(repetitions):
        time.sleep(_SETTLE)
        limits.append(meter.int8_gops() if compute_bound else meter.read_gb_s())
        ours.rates.append(measure.tokens / runner.seconds(measure))
        if peer is not None and comparable:
            time.sleep(_SETTLE)
            seconds = peer.seconds(measure)
            assert seconds is not None
            theirs.rates.append(measure.tokens / seconds)
        advance()
    limit = statistics.median(limits) * 1e9
    if compute_bound:
        reached = 2 * work.multiply_adds_per_token * ours.median
    else:
        past = measure.depth * work.kv_bytes_per_token
        reached = (work.bytes_per_step + past) * ours.median / measure.n
    name = "int8_peak" if compute_bound else "bandwidth"
    return Row(threads, measure, ours, theirs if comparable else None, name, 100 * reached / limit)


def _profile(runner: EngineRunner, threads: int, measure: Measure, by_layer: bool) -> Iterator[ProfileRow]:
    with runner.backend.profiled() as entries:
        runner.seconds(measure)
    totals: dict[tuple[str, int | None], float] = {}
    for operation, layer, _, seconds in entries:
        key = (operation, layer if by_layer and layer >= 0 else None)
        totals[key] = totals.get(key, 0.0) + seconds
    for (operation, shown), seconds in totals.items():
        yield ProfileRow(threads, measure, operation, shown, seconds / STEPS[measure.kind])
