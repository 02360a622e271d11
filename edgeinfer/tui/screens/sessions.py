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


class _Line(Input):
    """Takes Enter itself, behind the letters before it: a screen may get it while these are on their way."""

    BINDINGS = [Binding("enter", "screen.enter", "Open")]  # noqa: RUF012


class SessionsScreen(ModalScreen[int | None]):
    """Gives the session to open, or None."""

    app: ChatApp
    BINDINGS = [  # noqa: RUF012
        Binding("ctrl+r", "rename", "Rename", priority=True),
        Binding("ctrl+s", "export", "Save as a file", priority=True),
        Binding("ctrl+d,delete", "delete", "Delete", key_display="^d", priority=True),
        Binding("escape,f2", "close", "Close", key_display="esc"),
        Binding("down", "move('cursor_down')", show=False),
        Binding("up", "move('cursor_up')", show=False),
        Binding("pagedown", "move('page_down')", show=False),
        Binding("pageup", "move('page_up')", show=False),
    ]

    def __init__(self, store: SessionStore) -> None:
        super().__init__()
        self._store = store
        self._sessions: list[Session] = []
        self._listed = ""  # the words that these are found by
        self._renaming: Session | None = None
        self._deleting: int | None = None  # asked once already

    def compose(self) -> ComposeResult:
        """What to look for, what there is."""
        with Dialog("Sessions"):
            yield _Line(placeholder="Search titles and messages", id="search", compact=True, classes="search")
            yield OptionList()
            yield Static("No session yet, or none with these words", id="none")
            yield _Line(id="rename", compact=True, classes="search")
            yield Footer()

    def on_mount(self) -> None:
        """All of them."""
        self.query_one("#rename").display = False
        self.query_one(OptionList).can_focus = False

    def on_resize(self) -> None:
        """Other columns."""
        self.call_after_refresh(self._list)

    def _list(self) -> None:
        search = self._listed = self.query_one("#search", Input).value
        with self.app.telling():
            self._sessions = self._store.sessions(search)
        options = self.query_one(OptionList)
        options.clear_options()
        width = options.scrollable_content_region.width - 2
        options.add_options([Option(_line(session, width)) for session in self._sessions])
        options.display = bool(self._sessions)
        self.query_one("#none").display = not self._sessions
        if self._sessions:
            options.highlighted = 0

    def _chosen(self) -> Session | None:
        if self._listed != self.query_one("#search", Input).value:
            self._list()
        index = self.query_one(OptionList).highlighted
        return self._sessions[index] if index is not None and index < len(self._sessions) else None

    @on(Input.Changed, "#search")
    def _search(self) -> None:
        self._list()

    @on(OptionList.OptionSelected)
    def action_enter(self) -> None:
        """Open the session; or its new title is whole."""
        chosen = self._chosen()
        if self._renaming is not None:
            self._rename(self._renaming)
        elif chosen is not None:
            self.dismiss(chosen.id)

    def action_close(self) -> None:
        """The list, or what asks for a title."""
        if self._renaming is not None:
            self._end_renaming()
        else:
            self.dismiss(None)

    def action_move(self, how: str) -> None:
        """In the list, while one types."""
        if self._renaming is None:
            getattr(self.query_one(OptionList), f"action_{how}")()

    def action_rename(self) -> None:
        """Ask for a title."""
        self._renaming = self._chosen()
        if self._renaming is not None:
            box = self.query_one("#rename", Input)
            box.value, box.display = self._renaming.title, True
            box.focus()

    def _rename(self, session: Session) -> None:
        title = self.query_one("#rename", Input).value.strip()
        if title:
            with self.app.telling():
                self._store.update(session.id, title=title)
        self._end_renaming()

    def _end_renaming(self) -> None:
        self._renaming = None
        self.query_one("#rename").display = False
        self._list()
        self.query_one("#search").focus()

    def action_export(self) -> None:
        """As Markdown, in the folder where edgeinfer was started."""
        chosen = self._chosen()
        if chosen is not None:
            with self.app.telling():
                self.notify(save(chosen, self._store.branch(chosen.id)), markup=False)

    async def action_delete(self) -> None:
        """After asking once."""
        chosen = self._chosen()
        if chosen is None:
            return
        if self._deleting != chosen.id:
            self._deleting = chosen.id
            self.notify("Ctrl+D again deletes this session for good", severity="warning")
            return
        talk = self.app.chat.talk
        if talk is not None and talk.session.id == chosen.id:
            await self.app.chat.stopped()
        with self.app.telling():
            self._store.delete(chosen.id)
        self._list()


def _line(session: Session, width: int) -> Content:
    """When, what about, and on the right with which model, in so many columns."""
    day = f"{datetime.fromtimestamp(session.updated_at):%d %b %H:%M}  "
    model = Path(session.model).stem if session.model.endswith(".gguf") else session.model
    right = Content(safe_text(model)).truncate(max(8, width // 3), ellipsis=True)
    room = max(8, width - len(day) - right.cell_length - 2)
    title = Content(safe_text(session.title)).truncate(room, ellipsis=True, pad=True)
    return Content.assemble((day, "dim"), title, "  ", right.stylize("dim"))
