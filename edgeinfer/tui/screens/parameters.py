"""The system message and what answers are sampled with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Label, Static, TextArea

from edgeinfer.errors import InvalidRequest
from edgeinfer.parameters import NAMES, changed, shown
from edgeinfer.text.safe import safe_text
from edgeinfer.tui.widgets.dialog import Dialog

if TYPE_CHECKING:
    from edgeinfer.defaults import Defaults


class ParametersScreen(ModalScreen[tuple[str, dict[str, Any]] | None]):
    """Gives the system message and the parameters that are set, or None."""

    BINDINGS = [  # noqa: RUF012
        Binding("escape", "dismiss(None)", "Leave as it was"),
        Binding("ctrl+s,f4", "keep", "Keep"),
    ]

    def __init__(self, system: str, parameters: dict[str, Any], defaults: Defaults) -> None:
        """`defaults`: of the model."""
        super().__init__()
        self._defaults = defaults
        self._system = system
        self._parameters = parameters

    def compose(self) -> ComposeResult:
        """An empty field has its default."""
        with Dialog("Parameters"):
            yield Static("What the model should know and be", classes="title")
            yield TextArea(
                self._system, tab_behavior="focus", placeholder=Content(safe_text(self._defaults.system))
            )
            with VerticalScroll():
                for name in NAMES:
                    with Horizontal(classes="field"):
                        yield Label(name)
                        yield Input(
                            str(self._parameters.get(name, "")),
                            placeholder=shown(name, {}, self._defaults),
                            id=name,
                            compact=True,
                        )
            yield Static(id="problem")
            yield Footer()

    def action_keep(self) -> None:
        """Unless a value is wrong, which is told."""
        parameters = dict(self._parameters)
        try:
            for name in NAMES:
                parameters = changed(parameters, name, self.query_one(f"#{name}", Input).value.strip())
        except InvalidRequest as error:
            self.query_one("#problem", Static).update(error.message)
            return
        self.dismiss((self.query_one(TextArea).text, parameters))
