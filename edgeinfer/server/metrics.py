"""What Prometheus reads: requests as the server saw them, and what each model's engine counts.

Tokens are not seen here one by one: the engine keeps the histograms, this only hands them over.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from edgeinfer.errors import EdgeInferError
from edgeinfer.server.record import Record

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.engine.events import Usage
    from edgeinfer.engine.stats import Spread, Stats


CONTENT_TYPE = CONTENT_TYPE_LATEST


_Rows = tuple[tuple[str, str, Callable[["Stats"], float]], ...]  # name, what it is, where it is
_COUNTERS: _Rows = (
    ("prompt_tokens", "Prompt tokens of started requests.", lambda s: s.n_prompt),
    ("cached_prompt_tokens", "Of those, computed before.", lambda s: s.n_cached),
    ("generated_tokens", "Tokens sampled.", lambda s: s.n_generated),
    ("evicted_tokens", "Kept tokens that gave way to others.", lambda s: s.n_evicted),
    ("preemptions", "Times that a running request gave way.", lambda s: s.n_paused),
    ("steps", "Forward passes.", lambda s: s.n_steps),
    ("step_seconds", "Time in them.", lambda s: s.step_s),
)
_GAUGES: _Rows = (
    ("requests_running", "Requests with a sequence.", lambda s: s.n_running),
    ("requests_waiting", "Requests in the queue.", lambda s: s.n_waiting),
    ("kv_blocks_used", "KV blocks in use.", lambda s: (s.capacity - s.room) // s.block_tokens),
    ("kv_blocks_free", "KV blocks that are free.", lambda s: s.room // s.block_tokens),
    ("kv_kept_tokens", "Tokens of sequences kept for later.", lambda s: s.n_kept_tokens),
)
_HISTOGRAMS: tuple[tuple[str, str, Callable[[Stats], Spread]], ...] = (
    ("queue_seconds", "From submission to the first computation.", lambda s: s.queue),
    ("time_to_first_token_seconds", "From submission to the first token.", lambda s: s.first_token),
    ("inter_token_seconds", "Between two tokens of one answer.", lambda s: s.between_tokens),
    ("end_to_end_seconds", "From submission to the end.", lambda s: s.whole),
    ("batch_sequences", "Requests in a step.", lambda s: s.step_sequences),
)


@dataclass(frozen=True)
class Targets:
    """What a good answer is: so many seconds until its first token, and for each one after it."""

    first_token_s: float | None = None
    token_s: float | None = None

    def met_by(self, usage: Usage) -> bool:
        """Whether an answer that cost this was good."""
        fast = 1 / self.token_s if self.token_s is not None and usage.n_generated > 1 else 0.0
        soon = self.first_token_s is None or usage.first_token_s <= self.first_token_s
        return soon and usage.generated_per_s >= fast


class Metrics:
    """The counters of one server."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._requests: Tally[tuple[str, str, str]] = Tally()  # route, model, outcome
        self._answers: Tally[str] = Tally()  # by model
        self._good: Tally[str] = Tally()

    def observe(self, record: Record) -> None:
        """A request has ended."""
        model = record.model or ""
        self._requests[record.route, model, record.outcome] += 1
        if record.outcome == "ok":
            for stream in record.streams:
                self._answers[model] += 1
                self._good[model] += self._targets.met_by(stream.usage)

    def text(self, models: Sequence[Model]) -> bytes:
        """All of them and what these models count, in Prometheus' text format.

        Waits for the steps that the models compute.
        """
        registry = CollectorRegistry()
        registry.register(_Found([*self._of_requests(), *_of_engines(list(_stats(models)))]))
        return generate_latest(registry)

    def _of_requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "edgeinfer_requests", "Requests that have ended.", labels=("route", "model", "outcome")
        )
        for labels, n in self._requests.copy().items():
            requests.add_metric(labels, n)
        yield requests
        answers = CounterMetricFamily("edgeinfer_answers", "Answers that were completed.", labels=("model",))
        good = CounterMetricFamily(
            "edgeinfer_good_answers", "Of those, as fast as the targets.", labels=("model",)
        )
        for model, n in self._answers.copy().items():
            answers.add_metric((model,), n)
            good.add_metric((model,), self._good[model])
        yield answers
        yield good


class _Found(Collector):
    """Numbers of one moment."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


def _stats(models: Sequence[Model]) -> Iterator[tuple[str, Stats]]:
    """Of each engine, by the first model that it computes."""
    for model in {model.engine_id: model for model in reversed(models)}.values():
        with suppress(EdgeInferError):  # it was closed meanwhile
            yield model.name, model.stats()


def _of_engines(engines: Sequence[tuple[str, Stats]]) -> Iterator[Metric]:
    ended = CounterMetricFamily(
        "edgeinfer_sequences", "Answers that the engine ended.", labels=("model", "reason")
    )
    for name, stats in engines:
        for reason, n in stats.n_ended.items():
            ended.add_metric((name, reason), n)
    yield ended
    for kind, rows in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES)):
        for title, help, value in rows:
            family = kind(f"edgeinfer_{title}", help, labels=("model",))
            for name, stats in engines:
                family.add_metric((name,), value(stats))
            yield family
    for title, help, spread in _HISTOGRAMS:
        histogram = HistogramMetricFamily(f"edgeinfer_{title}", help, labels=("model",))
        for name, stats in engines:
            histogram.add_metric((name,), _buckets(spread(stats)), spread(stats).total)
        yield histogram


def _buckets(spread: Spread) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus wants them."""
    bounds = [*(str(float(bound)) for bound in spread.bounds), "+Inf"]
    return list(zip(bounds, accumulate(spread.counts), strict=True))
