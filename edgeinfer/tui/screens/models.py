"""The models of this machine, to choose one."""

from __future__ import annotations

from collections.abc import Sequence

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from edgeinfer.text.safe import safe_text


class ModelsScreen(ModalScreen[str | None]):
    """Gives the name or path of a model, or None."""

    BINDINGS = [  # noqa: RUF012
        Binding("escape", "dismiss(None)", "Close"),
        Binding("f3", "dismiss(None)", "Close", show=False),
    ]

    def __init__(self, names: Sequence[str], current: str) -> None:
        super().__init__()
        self._names = list(names)
        self._current = current

    def compose(self) -> ComposeResult:
        """What is here, and a line for anything else."""
        with Vertical(classes="dialog"):
            yield Static("Models", classes="title")
            options = [self._line(name) for name in self._names]
            yield OptionList(*options)
            yield Input(placeholder="or the path of a .gguf file")
            yield Footer()

    def _line(self, name: str) -> Option:
        mark = "\u25cf" if name == self._current else " "
        return Option(f"{mark} {safe_text(name)}".replace("[", "\\["))

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index])

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)
