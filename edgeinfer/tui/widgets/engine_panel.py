"""What the engine is doing: speeds, the cache, memory."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import psutil
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Sparkline, Static

from edgeinfer.errors import EdgeInferError

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.engine.stats import Stats

_EVERY_S = 0.5
_MINUTES = 3  # of the picture of speeds
_MAP_CELLS = 96


class EnginePanel(VerticalScroll, can_focus=False):
    """Beside the conversation; measures only while it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.model: Model | None = None
        self._speeds: deque[float] = deque([0.0] * 2, maxlen=int(60 * _MINUTES / _EVERY_S))
        self._n_generated = 0

    def compose(self) -> ComposeResult:
        """From what changes most to what changes least."""
        yield Static("tokens per second", classes="title")
        yield Sparkline(list(self._speeds), summary_function=max)
        yield Static(id="speeds")
        yield Static("KV blocks", classes="title")
        yield Static(id="blocks")
        yield Static(id="cache")
        yield Static("process", classes="title")
        yield Static(id="process")

    def on_mount(self) -> None:
        """Look twice a second."""
        self.set_interval(_EVERY_S, self._look)

    async def _look(self) -> None:
        model = self.model
        if not self.display or model is None:
            return
        try:
            stats = await asyncio.to_thread(model.stats)
        except EdgeInferError:  # closed meanwhile
            return
        new, self._n_generated = stats.n_generated - self._n_generated, stats.n_generated
        self._speeds.append(max(0, new) / _EVERY_S)
        self.query_one(Sparkline).data = list(self._speeds)
        self.query_one("#speeds", Static).update(_speeds(stats, self._speeds[-1]))
        self.query_one("#blocks", Static).update(_block_map(stats))
        self.query_one("#cache", Static).update(_cache(stats))
        self.query_one("#process", Static).update(_process(model))


def _speeds(stats: Stats, now: float) -> str:
    between, first = stats.between_tokens, stats.first_token
    return (
        f"now {now:.0f}\n"
        f"between tokens {between.p50 * 1e3:.1f} ms (p99 {between.p99 * 1e3:.0f})\n"
        f"first token {first.p50 * 1e3:.0f} ms (p99 {first.p99 * 1e3:.0f})\n"
        f"running {stats.n_running}, waiting {stats.n_waiting}"
    )


def _block_map(stats: Stats) -> Text:
    """Cells of the pool: used, then free. Shapes tell them apart where colours do not."""
    used = round(_MAP_CELLS * (stats.capacity - stats.room) / stats.capacity) if stats.capacity else 0
    return Text("\u25a0" * used + "\u25a1" * (_MAP_CELLS - used))


def _cache(stats: Stats) -> str:
    share = 100 * stats.n_cached / stats.n_prompt if stats.n_prompt else 0
    return (
        f"{stats.capacity - stats.room:,} of {stats.capacity:,} tokens\n"
        f"{stats.n_kept} sequences kept\n"
        f"{share:.0f} % of prompts found again\n"
        f"saved {stats.n_saved:,}, read back {stats.n_loaded:,}"
    )


def _process(model: Model) -> str:
    resident = psutil.Process().memory_info().rss / 2**20
    free = psutil.virtual_memory().available / 2**30
    return f"{model.description}\n{resident:,.0f} MiB resident, {free:.1f} GiB free"
