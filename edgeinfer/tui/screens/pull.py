"""A model is fetched."""

from __future__ import annotations

import time
from pathlib import Path

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, ProgressBar, Static

from edgeinfer.errors import EdgeInferError
from edgeinfer.text.safe import safe_text
from edgeinfer.text.sizes import in_bytes
from edgeinfer.tui.fetching import Fetch

_EVERY_S = 0.2


class PullScreen(ModalScreen[Path | EdgeInferError | None]):
    """Gives the path of the model, what went wrong, or None if it was stopped."""

    BINDINGS = [Binding("escape", "stop", "Stop; the next time it goes on here")]  # noqa: RUF012

    def __init__(self, name: str) -> None:
        super().__init__()
        self._wanted = name
        self._fetch = Fetch(name)
        self._speed: tuple[float, int] | None = None  # when that was first looked at, bytes then

    def compose(self) -> ComposeResult:
        """How far it is."""
        with Vertical(classes="dialog low"):
            yield Static(Content(f"Fetching {safe_text(self._wanted)}"), classes="title")
            yield ProgressBar(show_eta=False)
            yield Static("Asking for it", id="told")
            yield Footer()

    def on_mount(self) -> None:
        """Look from time to time."""
        self.set_interval(_EVERY_S, self._look)

    def _look(self) -> None:
        fetch = self._fetch
        if fetch.path is not None or fetch.error is not None:
            self.dismiss(fetch.path or fetch.error)
        elif fetch.total is not None:
            self.query_one(ProgressBar).update(total=fetch.total, progress=fetch.n_bytes)
            told = f"{in_bytes(fetch.n_bytes)} of {in_bytes(fetch.total)}{self._pace(fetch)}"
            self.query_one("#told", Static).update(Content(told))

    def _pace(self, fetch: Fetch) -> str:
        now = time.monotonic()
        if self._speed is None:
            self._speed = now, fetch.n_bytes
        since, n_then = self._speed
        if now - since < 1 or fetch.n_bytes <= n_then or fetch.total is None:
            return ""
        per_s = (fetch.n_bytes - n_then) / (now - since)
        left_s = (fetch.total - fetch.n_bytes) / per_s
        return f" \u00b7 {in_bytes(int(per_s))}/s \u00b7 {left_s // 60:.0f} min {left_s % 60:.0f} s left"

    def action_stop(self) -> None:
        """What is here stays."""
        self._fetch.cancel()
        self.dismiss(None)
