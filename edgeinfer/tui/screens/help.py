"""What there is to press and to type."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Markdown

_HELP = """\
# Keys
| | |
|---|---|
| Enter | send |
| Ctrl+J, Shift+Enter | a new line |
| Up, Down | what you said before |
| Esc | stop the answer |
| Tab, Shift+Tab | to the messages and back |
| F2, F3, F4, F5 | sessions, models, parameters, engine |
| Ctrl+N | a new conversation |
| Ctrl+Y | copy the last answer |
| Ctrl+P | all commands |
| Ctrl+Q | end |

On a message: **c** copies it, **k** its code, **e** edits yours and sends it again, **r** gives another
answer; **left** and **right** go through the versions.

# Commands
`/model NAME` `/system TEXT` `/set NAME VALUE` `/save FILE` (.md or .json) `/sessions` `/clear` `/help` `/bye`
"""


class HelpScreen(ModalScreen[None]):
    """Any of these keys closes it."""

    BINDINGS = [Binding("escape,f1,q", "dismiss(None)", "Close")]  # noqa: RUF012

    def compose(self) -> ComposeResult:
        """One page."""
        with Vertical(classes="dialog"):
            yield Markdown(_HELP, open_links=False)
            yield Footer()
