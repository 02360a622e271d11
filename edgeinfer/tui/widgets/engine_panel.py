"""What the engine is doing: speeds, the cache, memory."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import Sparkline, Static

from edgeinfer.errors import EdgeInferError
from edgeinfer.text.safe import safe_text
from edgeinfer.text.sizes import in_bytes
from edgeinfer.tui.widgets.block_map import BlockMap

if TYPE_CHECKING:
    from edgeinfer.chat_model import ChatModel, Report
    from edgeinfer.engine.stats import Spread, Stats

_EVERY_S = 0.5
_MINUTES = 3  # of the picture of speeds


class EnginePanel(Container, can_focus=False):
    """Beside the conversation, or below it in two columns; draws only while it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.model: ChatModel | None = None
        n_looks = int(60 * _MINUTES / _EVERY_S)
        self._speeds = deque([0.0] * n_looks, maxlen=n_looks)
        self._before: tuple[ChatModel, float, int] | None = None  # what was last looked at, when, tokens then

    def compose(self) -> ComposeResult:
        """From what changes most to what changes least."""
        with Vertical():
            yield Static(f"Speed, last {_MINUTES} minutes", classes="title")
            yield Sparkline([0.0], summary_function=max)
            yield Static(id="speeds")
        with Vertical():
            yield Static(id="pool", classes="title")
            yield BlockMap()
            yield Static(id="cache")
            yield Static("Machine", classes="title")
            yield Static(id="process")

    def on_mount(self) -> None:
        """Look twice a second, for the picture of what has been also while nobody does."""
        self.set_interval(_EVERY_S, self._look)

    async def on_show(self) -> None:
        """At once."""
        await self._look()

    async def _look(self) -> None:
        model = self.model
        if model is None:
            return
        try:
            report = await model.report()
        except EdgeInferError:  # closed meanwhile
            return
        stats = report.stats
        self._measure(model, stats.n_generated)
        if self.display:
            self.query_one(Sparkline).data = [0.0, *self._speeds]  # zero is its lowest line
            self.query_one("#speeds", Static).update(_speeds(stats, self._speeds))
            self.query_one("#pool", Static).update(f"Keys and values, blocks of {stats.block_tokens} tokens")
            self.query_one(BlockMap).use = stats.kv
            self.query_one("#cache", Static).update(_cache(stats))
            self.query_one("#process", Static).update(_process(report))

    def _measure(self, model: ChatModel, n_generated: int) -> None:
        now = time.monotonic()
        before = self._before
        then, n_then = before[1:] if before is not None and before[0] is model else (now, n_generated)
        self._before = model, now, n_generated
        self._speeds.append(max(0, n_generated - n_then) / (now - then) if now > then else 0.0)


def _speeds(stats: Stats, speeds: deque[float]) -> Content:
    now = Content.assemble((f"{speeds[-1]:.0f} tokens/s", "bold"), f" now, {max(speeds):.0f} at most")
    head = Content.styled(f"{'token':<6}{'p50':>7}{'p95':>7}{'p99':>7}", "dim")
    first, following = _percentiles("first", stats.first_token), _percentiles("next", stats.between_tokens)
    return Content("\n").join(
        [now, head, first, following, Content(f"{stats.n_running} in the batch, {stats.n_waiting} waiting")]
    )


def _percentiles(name: str, spread: Spread) -> Content:
    told = [_time(seconds) if spread.total else "-" for seconds in (spread.p50, spread.p95, spread.p99)]
    return Content(f"{name:<6}{told[0]:>7}{told[1]:>7}{told[2]:>7}")


def _cache(stats: Stats) -> Content:
    """What the prompts found of what was computed before."""
    share = f"{100 * stats.n_cached / stats.n_prompt:.0f} %" if stats.n_prompt else "-"
    lines = [f"Prompts {share} of {stats.n_prompt:,} cached"]
    if stats.n_saved or stats.n_loaded:
        lines.append(f"Disk {stats.n_saved:,} saved, {stats.n_loaded:,} read")
    if stats.save_error is not None:
        lines.append(f"Not saved: {safe_text(stats.save_error)}")
    return Content("\n".join(lines))


def _process(report: Report) -> Content:
    free = f"{in_bytes(report.memory.available)} of {in_bytes(report.memory.total)}"
    resident = in_bytes(report.resident_bytes)
    return Content(f"{safe_text(report.description)}\n{resident} resident\n{free} free")


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s"
