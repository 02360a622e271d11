"""A model is fetched."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, ProgressBar, Static

from edgeinfer.text.safe import safe_text
from edgeinfer.text.sizes import in_bytes
from edgeinfer.tui.fetching import Fetch
from edgeinfer.tui.widgets.dialog import Dialog

_EVERY_S = 0.2


class PullScreen(ModalScreen[bool]):
    """Gives whether the model is here."""

    BINDINGS = [  # noqa: RUF012
        Binding("enter", "go_on", "Fetch it all the same"),
        Binding("r", "retry", "Try again"),
        Binding("escape", "stop", "Stop; the next time it goes on here"),
    ]

    def __init__(self, name: str) -> None:
        super().__init__()
        self._wanted = name
        self._fetch = Fetch(name)

    def compose(self) -> ComposeResult:
        """How far it is."""
        with Dialog("Fetching a model", "low"):
            yield Static(Content(safe_text(self._wanted)), classes="title")
            yield Static("Asking for it", id="fit")
            yield ProgressBar(show_eta=False)
            yield Static(id="told")
            yield Static(classes="problem")
            yield Footer()

    def on_mount(self) -> None:
        """Look from time to time."""
        self.set_interval(_EVERY_S, self._look)
        self._look()

    def _look(self) -> None:
        from edgeinfer.bench.speed import stored_speed

        fetch = self._fetch
        if fetch.path is not None:
            self.dismiss(True)
            return
        if fetch.fit is not None:
            self._tell("#fit", fetch.fit.summary(stored_speed()))
        self.query_one(ProgressBar).display = fetch.total is not None
        if fetch.total is not None:
            self.query_one(ProgressBar).update(total=fetch.total, progress=fetch.n_bytes)
            self._tell("#told", f"{in_bytes(fetch.n_bytes)} of {in_bytes(fetch.total)}{_pace(fetch)}")
        self._tell(".problem", _problem(fetch))
        self.refresh_bindings()

    def _tell(self, where: str, text: str) -> None:
        line = self.query_one(where, Static)
        line.update(Content(safe_text(text)))
        line.display = bool(text)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what makes sense now."""
        return {"go_on": self._fetch.asks, "retry": self._fetch.error is not None}.get(action, True)

    def action_go_on(self) -> None:
        """Although it does not fit."""
        self._fetch.agree()

    def action_retry(self) -> None:
        """From where it broke off."""
        self._fetch = Fetch(self._wanted)
        self._tell("#fit", "Asking for it")
        self._look()

    def action_stop(self) -> None:
        """What is here stays."""
        self._fetch.cancel()
        self.dismiss(False)


def _problem(fetch: Fetch) -> str:
    """What is wrong and what to do, or what does not fit, or what is waited for."""
    if fetch.error is not None:
        return "\n".join(filter(None, [fetch.error.message, fetch.error.hint]))
    if fetch.asks and fetch.fit is not None:
        return f"It does not fit: {fetch.fit.advice}"
    return fetch.waits


def _pace(fetch: Fetch) -> str:
    per_s = fetch.bytes_per_s
    if per_s <= 0 or fetch.total is None:
        return ""
    minutes, seconds = divmod(int((fetch.total - fetch.n_bytes) / per_s), 60)
    left = f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
    return f" \u00b7 {in_bytes(int(per_s))}/s \u00b7 {left} left"
