"""The models of this machine and those that can be fetched, to choose one."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from edgeinfer.text.safe import safe_text
from edgeinfer.text.sizes import in_bytes
from edgeinfer.tui.choices import Choice


class ModelsScreen(ModalScreen[Choice | str | None]):
    """Gives a model, what was typed instead of choosing one, or None."""

    BINDINGS = [  # noqa: RUF012
        Binding("escape,f3", "dismiss(None)", "Close", key_display="esc"),
        Binding("down", "to_list", show=False),
    ]

    def __init__(self, models: Sequence[Choice], current: str, problem: str = "") -> None:
        super().__init__()
        self._all = models
        self._current = current
        self._problem = problem

    def compose(self) -> ComposeResult:
        """What is here, what can be fetched, and a line for anything else."""
        with Vertical(classes="dialog"):
            yield Static("Models", classes="title")
            if self._problem:
                yield Static(Content(safe_text(self._problem)), classes="problem")
            yield Input(placeholder="Search, or the path of a .gguf file", compact=True, classes="search")
            yield OptionList()
            yield Footer()

    def on_mount(self) -> None:
        """All of them."""
        self._list("")

    def _list(self, search: str) -> None:
        found = [c for c in self._all if search.lower() in c.name.lower()]
        options = self.query_one(OptionList)
        options.clear_options()
        for title, is_here in (("On this machine", True), ("To fetch: Enter does it", False)):
            lines = [Option(self._line(c), id=c.name) for c in found if c.is_here == is_here]
            if lines:
                options.add_options([Option(Content.styled(title, "bold"), disabled=True), *lines])
        if found:
            names = [c.name for c in found]
            options.highlighted = options.get_option_index(
                self._current if self._current in names else names[0]
            )

    def _line(self, model: Choice) -> Content:
        mark = "\u25cf" if model.name == self._current else " "
        size = in_bytes(model.size_bytes) if model.size_bytes is not None else ""
        source = model.source if model.fits else "more than this machine's memory"
        return Content(f"{mark} {safe_text(model.name):<32} {size:>10}  {safe_text(source)}")

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        self._list(event.value)

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(next(c for c in self._all if c.name == event.option_id))

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        options = self.query_one(OptionList)
        if options.highlighted is not None:
            options.action_select()
        elif event.value.strip():
            self.dismiss(event.value.strip())

    def action_to_list(self) -> None:
        """From the search to what was found."""
        self.query_one(OptionList).focus()
