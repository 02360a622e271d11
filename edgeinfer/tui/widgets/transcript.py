"""The conversation, from its first message to its last."""

from __future__ import annotations

from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static

from edgeinfer.sessions.store import Message
from edgeinfer.tui.messages import Scrolled
from edgeinfer.tui.talk import Talk
from edgeinfer.tui.widgets.message import AnswerView, MessageView, QuestionView

_MOST_AT_ONCE = (
    20  # messages that are laid out unless somebody asks for more: each takes its time at each change
)


class Transcript(VerticalScroll, can_focus=False):
    """Follows what is written as long as its end is in view."""

    def __init__(self) -> None:
        super().__init__()
        self._talk: Talk | None = None
        self._n_earlier = 0  # messages that are not laid out

    async def show(self, talk: Talk, greeting: str) -> None:
        """A conversation, in place of what is shown."""
        self._talk = talk
        self._n_earlier = max(0, len(talk.messages) - _MOST_AT_ONCE)
        views: list[Widget] = [_view(talk, message) for message in talk.messages[self._n_earlier :]]
        async with self.batch():
            await self.remove_children()
            await self.mount_all(views or [Static(Content(greeting), id="greeting")])
            await self._tell_earlier()
        self.anchor()

    async def show_all(self) -> None:
        """The earlier messages too; go to the first one."""
        if self._talk is not None and self._n_earlier:
            views = [_view(self._talk, message) for message in self._talk.messages[: self._n_earlier]]
            self._n_earlier = 0
            await self.mount_all(views, before=0)
            await self._tell_earlier()
        self.release_anchor()
        self.scroll_home(animate=False)

    async def add(self, talk: Talk) -> MessageView:
        """The last message of the conversation, which is new."""
        view = _view(talk, talk.messages[-1])
        await self.query("#greeting").remove()
        await self._fold()
        await self.mount(view)
        self.anchor()
        return view

    async def _fold(self) -> None:
        """Make room for one more."""
        views = list(self.query(MessageView))
        too_many = views[: max(0, len(views) + 1 - _MOST_AT_ONCE)]
        if too_many:
            self._n_earlier += len(too_many)
            await self.remove_children(too_many)
            await self._tell_earlier()

    async def _tell_earlier(self) -> None:
        """Above the first one."""
        await self.query("#earlier").remove()
        if self._n_earlier:
            text = f"{self._n_earlier} earlier messages: Ctrl+Home shows them"
            await self.mount(Static(Content(text), id="earlier"), before=0)

    async def cut(self, message: int) -> None:
        """Without this message and what came after it."""
        views = list(self.query(MessageView))
        first = next((i for i, view in enumerate(views) if view.message.id == message), len(views))
        await self.remove_children(views[first:])

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Tell that the end may have come into view, or gone."""
        super().watch_scroll_y(old_value, new_value)
        self.post_message(Scrolled())

    def watch_virtual_size(self, old_size: Size, new_size: Size) -> None:
        """Tell it here too. Whether it has is asked later: Textual knows the room for it only then."""
        self.post_message(Scrolled())

    @property
    def ends_in_view(self) -> bool:
        """Whether the end is seen, or will be as soon as what is new is laid out."""
        follows = self._anchored and not self._anchor_released  # what nobody has scrolled away from
        return follows or self.is_vertical_scroll_end


def _view(talk: Talk, message: Message) -> MessageView:
    kind = QuestionView if message.role == "user" else AnswerView
    return kind(message, talk.place(message))
