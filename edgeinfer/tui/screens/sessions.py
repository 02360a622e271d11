"""The list of sessions: open, search, rename, delete."""

from __future__ import annotations

from datetime import datetime

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, OptionList, Static
from textual.widgets.option_list import Option

from edgeinfer.sessions.store import Session, SessionStore
from edgeinfer.text.safe import safe_text


class SessionsScreen(ModalScreen[int | None]):
    """Gives the session to open, or None."""

    BINDINGS = [  # noqa: RUF012
        Binding("escape", "dismiss(None)", "Close"),
        Binding("f2", "dismiss(None)", "Close", show=False),
        Binding("ctrl+r", "rename", "Rename"),
        Binding("delete,ctrl+d", "delete", "Delete"),
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
        with Vertical(classes="dialog"):
            yield Static("Sessions", classes="title")
            yield Input(placeholder="Search titles and messages", id="search")
            yield OptionList()
            yield Input(id="rename")
            yield Footer()

    def on_mount(self) -> None:
        """All of them."""
        self.query_one("#rename").display = False
        self._list("")

    def _list(self, search: str) -> None:
        self._sessions = self._store.sessions(search)
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(_line(session)) for session in self._sessions])
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
        self.query_one("#rename").display = False
        self._list(self.query_one("#search", Input).value)
        self.query_one(OptionList).focus()

    def action_delete(self) -> None:
        """After asking once."""
        chosen = self._chosen()
        if chosen is None:
            return
        if self._deleting != chosen.id:
            self._deleting = chosen.id
            self.notify("Delete again to delete this session for good", severity="warning")
            return
        self._store.delete(chosen.id)
        self._list(self.query_one("#search", Input).value)


def _line(session: Session) -> str:
    day = datetime.fromtimestamp(session.updated_at).strftime("%d %b %H:%M")
    return f"{day}  {safe_text(session.title)}  \u00b7 {safe_text(session.model)}".replace("[", "\\[")
