"""What there is to press and to type."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from edgeinfer.tui.commands import COMMANDS
from edgeinfer.tui.widgets.dialog import Dialog

_SECTIONS = {
    "While you write": (
        ("Enter", "send"),
        ("Ctrl+J, Shift+Enter", "a new line; also \\ before Enter"),
        ("Up, Down", "what you said before"),
        ("@path", "in a message sends that text file along"),
        ("/", "commands; Tab takes the marked one"),
        ("Esc", "stop the answer"),
        ("Ctrl+C", "stop, clear, or twice: end; Ctrl+D on an empty line ends too"),
        ("Page Up, Page Down", "read; Ctrl+Home and Ctrl+End: first and last message"),
        ("Ctrl+R", "another answer in the place of the last one"),
        ("F8, F9", "copy the last block of code, the last answer"),
    ),
    "On a message (Tab, Shift+Tab)": (
        ("c, k", "copy it, copy its code"),
        ("e", "edit yours and send it again"),
        ("r", "another answer; t: show its reasoning"),
        ("Left, Right", "through the versions"),
    ),
    "Around it": (
        ("F2, Ctrl+N", "sessions, a new one"),
        ("F3, F4, F5", "models, parameters, engine"),
        ("F6", "use the server that runs here, where one is offered"),
        ("Ctrl+P", "all commands, themes"),
        ("Ctrl+L", "draw all anew"),
        ("Ctrl+Z", "back to the shell; fg goes on (undo: Ctrl+_)"),
        ("Ctrl+Q", "end"),
    ),
    "To type": tuple((f"/{c.names[0]} {c.argument}".rstrip(), c.told) for c in COMMANDS),
}


class HelpScreen(ModalScreen[None]):
    """Any of these keys closes it."""

    BINDINGS = [Binding("escape,f1,q,question_mark", "dismiss(None)", "Close", key_display="esc")]  # noqa: RUF012

    def compose(self) -> ComposeResult:
        """One page."""
        with Dialog("Help"):
            with VerticalScroll():
                for title, rows in _SECTIONS.items():
                    yield Static(Content(title), classes="title")
                    for keys, what in rows:
                        with Horizontal():
                            yield Static(Content(keys), classes="keys")
                            yield Static(Content(what))
            yield Footer()
