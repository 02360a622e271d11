"""What the engine is doing: speeds, the cache, memory."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

import psutil
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Sparkline, Static

from edgeinfer.backends.base import KvUse
from edgeinfer.errors import EdgeInferError
from edgeinfer.text.safe import safe_text

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.engine.stats import Stats

_EVERY_S = 0.5
_MINUTES = 3  # of the picture of speeds
_MAP_CELLS = 96
# shapes tell apart what colours do not
_KINDS = (("\u25a0", "running"), ("\u25a3", "shared"), ("\u25aa", "kept"), ("\u00b7", "free"))


class EnginePanel(VerticalScroll, can_focus=False):
    """Beside the conversation; measures only while it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.model: Model | None = None
        self._speeds: deque[float] = deque([0.0] * 2, maxlen=int(60 * _MINUTES / _EVERY_S))
        self._before: tuple[float, int] | None = None  # when it was last looked at, tokens then

    def compose(self) -> ComposeResult:
        """From what changes most to what changes least."""
        yield Static("Tokens per second", classes="title")
        yield Sparkline(list(self._speeds), summary_function=max)
        yield Static(id="speeds")
        yield Static("Prompts", classes="title")
        yield Static(id="cache")
        yield Static("Keys and values", classes="title")
        yield Static(id="blocks")
        yield Static("Machine", classes="title")
        yield Static(id="process")

    def on_mount(self) -> None:
        """Look twice a second."""
        self.set_interval(_EVERY_S, self._look)

    async def on_show(self) -> None:
        """At once; what was generated meanwhile is no speed."""
        self._before = None
        await self._look()

    async def _look(self) -> None:
        model = self.model
        if not self.display or model is None:
            return
        try:
            stats = await asyncio.to_thread(model.stats)
        except EdgeInferError:  # closed meanwhile
            return
        self._speeds.append(self._speed(stats.n_generated))
        self.query_one(Sparkline).data = list(self._speeds)
        for id, text in (
            ("#speeds", _speeds(stats, self._speeds[-1])),
            ("#cache", _cache(stats)),
            ("#blocks", _blocks(stats)),
            ("#process", _process(model)),
        ):
            self.query_one(id, Static).update(Content(text))

    def _speed(self, n_generated: int) -> float:
        now = time.monotonic()
        then, n_then = self._before or (now, n_generated)
        self._before = now, n_generated
        return max(0, n_generated - n_then) / (now - then) if now > then else 0.0


def _speeds(stats: Stats, now: float) -> str:
    between, first = stats.between_tokens, stats.first_token
    lines = [f"{now:.0f} now"]
    if between.total:
        lines.append(f"between tokens {_ms(between.p50)}, p99 {_ms(between.p99)}")
    if first.total:
        lines.append(f"first token {_ms(first.p50)}, p99 {_ms(first.p99)}")
    return "\n".join([*lines, f"{stats.n_running} in the batch, {stats.n_waiting} waiting"])


def _cache(stats: Stats) -> str:
    share = 100 * stats.n_cached / stats.n_prompt if stats.n_prompt else 0
    lines = [f"{share:.0f} % of {stats.n_prompt:,} tokens found again"]
    if stats.n_saved or stats.n_loaded:
        lines.append(f"disk: {stats.n_saved:,} written, {stats.n_loaded:,} read")
    if stats.save_error is not None:
        lines.append(f"not saved: {safe_text(stats.save_error)}")
    return "\n".join(lines)


def _blocks(stats: Stats) -> str:
    """The pool as a picture: every cell is as many blocks, whatever is there at all has one."""
    use = stats.kv
    counts = (use.n_running, use.n_shared, use.n_kept, use.n_free)
    cells = [_n_cells(n, use) for n in counts[:-1]]
    cells.append(max(0, _MAP_CELLS - sum(cells)))
    picture = "".join(mark * n for (mark, _), n in zip(_KINDS, cells, strict=True))
    names = [f"{mark} {n:,} {name}" for (mark, name), n in zip(_KINDS, counts, strict=True)]
    return f"{picture}\n{'  '.join(names[:2])}\n{'  '.join(names[2:])}\nblocks of {stats.block_tokens} tokens"


def _n_cells(n: int, use: KvUse) -> int:
    total = use.n_running + use.n_shared + use.n_kept + use.n_free
    return max(int(n > 0), round(_MAP_CELLS * n / total))


def _process(model: Model) -> str:
    resident = psutil.Process().memory_info().rss / 2**20
    memory = psutil.virtual_memory()
    return (
        f"{safe_text(model.description)}\n"
        f"{resident:,.0f} MiB resident\n"
        f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"
