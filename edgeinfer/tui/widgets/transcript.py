"""The conversation, from its first message to its last."""

from __future__ import annotations

from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Static

from edgeinfer.sessions.store import Message
from edgeinfer.tui.messages import Scrolled
from edgeinfer.tui.talk import Talk
from edgeinfer.tui.widgets.message import AnswerView, MessageView, QuestionView

_MOST_AT_ONCE = 40  # messages of a long conversation that are laid out before somebody asks for more


class Transcript(VerticalScroll, can_focus=False):
    """Follows what is written as long as its end is in view."""

    def __init__(self) -> None:
        super().__init__()
        self._talk: Talk | None = None
        self._earlier: list[Message] = []  # that are not laid out yet

    async def show(self, talk: Talk, greeting: str) -> None:
        """A conversation, in place of what is shown."""
        self._talk = talk
        self._earlier, shown = talk.messages[:-_MOST_AT_ONCE], talk.messages[-_MOST_AT_ONCE:]
        views: list[MessageView | Static] = [_view(talk, message) for message in shown]
        if self._earlier:
            text = f"{len(self._earlier)} earlier messages: Ctrl+Home shows them"
            views.insert(0, Static(Content(text), id="earlier"))
        async with self.batch():
            await self.remove_children()
            await self.mount_all(views or [Static(Content(greeting), id="greeting")])
        self.anchor()

    async def show_all(self) -> None:
        """The earlier messages too; go to the first one."""
        if self._talk is not None and self._earlier:
            views = [_view(self._talk, message) for message in self._earlier]
            self._earlier = []
            await self.mount_all(views, before=0)
            await self.query("#earlier").remove()
        self.release_anchor()
        self.scroll_home(animate=False)

    async def add(self, talk: Talk) -> MessageView:
        """The last message of the conversation, which is new."""
        view = _view(talk, talk.messages[-1])
        await self.query("#greeting").remove()
        await self.mount(view)
        self.anchor()
        return view

    async def cut(self, message: int) -> None:
        """Without this message and what came after it."""
        views = list(self.query(MessageView))
        first = next((i for i, view in enumerate(views) if view.message.id == message), len(views))
        await self.remove_children(views[first:])

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Tell whether the end is in view."""
        super().watch_scroll_y(old_value, new_value)
        self.post_message(Scrolled(self.is_vertical_scroll_end))

    def watch_virtual_size(self, old_size: Size, new_size: Size) -> None:
        """Tell whether the end is in view."""
        self.post_message(Scrolled(self.is_vertical_scroll_end))


def _view(talk: Talk, message: Message) -> MessageView:
    kind = QuestionView if message.role == "user" else AnswerView
    return kind(message, talk.place(message))
