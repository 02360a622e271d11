"""The list of sessions: open, search, rename, export, delete."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from edgeinfer.sessions.store import Session, SessionStore
from edgeinfer.text.safe import safe_text
from edgeinfer.tui.saving import save
from edgeinfer.tui.widgets.dialog import Dialog

if TYPE_CHECKING:
    from edgeinfer.tui.app import ChatApp


class SessionsScreen(ModalScreen[int | None]):
    """Gives the session to open, or None."""

    app: ChatApp
    BINDINGS = [  # noqa: RUF012
        Binding("escape,f2", "close", "Close", key_display="esc"),
        Binding("ctrl+r", "rename", "Rename", priority=True),
        Binding("ctrl+s", "export", "Save as a file", priority=True),
        Binding("ctrl+d,delete", "delete", "Delete", key_display="^d", priority=True),
        Binding("down", "to_list", show=False),
    ]

    def __init__(self, store: SessionStore) -> None:
        super().__init__()
        self._store = store
        self._sessions: list[Session] = []
        self._renaming: Session | None = None
        self._deleting: int | None = None  # asked once already

    def compose(self) -> ComposeResult:
        """What to look for, what there is."""
        with Dialog("Sessions"):
            yield Input(placeholder="Search titles and messages", id="search", compact=True, classes="search")
            yield OptionList()
            yield Static("No session yet, or none with these words", id="none")
            yield Input(id="rename", compact=True, classes="search")
            yield Footer()

    def on_mount(self) -> None:
        """All of them."""
        self.query_one("#rename").display = False
        self._list("")

    def _list(self, search: str) -> None:
        with self.app.telling():
            self._sessions = self._store.sessions(search)
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(_line(session)) for session in self._sessions])
        options.display = bool(self._sessions)
        self.query_one("#none").display = not self._sessions
        if self._sessions:
            options.highlighted = 0

    def _chosen(self) -> Session | None:
        index = self.query_one(OptionList).highlighted
        return self._sessions[index] if index is not None and index < len(self._sessions) else None

    @on(Input.Changed, "#search")
    def _search(self, event: Input.Changed) -> None:
        self._list(event.value)

    @on(Input.Submitted, "#search")
    @on(OptionList.OptionSelected)
    def _open(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self.dismiss(chosen.id)

    def action_close(self) -> None:
        """The list, or what asks for a title."""
        if self.query_one("#rename").display:
            self._end_renaming()
        else:
            self.dismiss(None)

    def action_to_list(self) -> None:
        """From the search to what was found."""
        self.query_one(OptionList).focus()

    def action_rename(self) -> None:
        """Ask for a title."""
        self._renaming = self._chosen()
        if self._renaming is not None:
            box = self.query_one("#rename", Input)
            box.value, box.display = self._renaming.title, True
            box.focus()

    @on(Input.Submitted, "#rename")
    def _rename(self, event: Input.Submitted) -> None:
        if self._renaming is not None and event.value.strip():
            self._store.update(self._renaming.id, title=event.value.strip())
        self._end_renaming()

    def _end_renaming(self) -> None:
        self.query_one("#rename").display = False
        self._list(self.query_one("#search", Input).value)
        self.query_one(OptionList).focus()

    def action_export(self) -> None:
        """As Markdown, in the folder where edgeinfer was started."""
        chosen = self._chosen()
        if chosen is not None:
            with self.app.telling():
                self.notify(save(chosen, self._store.branch(chosen.id)), markup=False)

    def action_delete(self) -> None:
        """After asking once."""
        chosen = self._chosen()
        if chosen is None:
            return
        if self._deleting != chosen.id:
            self._deleting = chosen.id
            self.notify("Ctrl+D again deletes this session for good", severity="warning")
            return
        self._store.delete(chosen.id)
        self._list(self.query_one("#search", Input).value)


def _line(session: Session) -> Content:
    day = datetime.fromtimestamp(session.updated_at).strftime("%d %b %H:%M")
    model = Path(session.model).stem if session.model.endswith(".gguf") else session.model
    title = Content(f"{day}  {safe_text(session.title)}  ")
    return title + Content.styled(safe_text(model), "dim")
