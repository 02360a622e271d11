"""The conversation, from its first message to its last."""

from __future__ import annotations

from textual.containers import VerticalScroll
from textual.widgets import Static

from edgeinfer.sessions.store import Message
from edgeinfer.tui.talk import Talk
from edgeinfer.tui.widgets.message import AnswerView, MessageView, QuestionView


class Transcript(VerticalScroll, can_focus=False):
    """Follows what is written as long as its end is in view."""

    async def show(self, talk: Talk, greeting: str) -> None:
        """A conversation, in place of what is shown."""
        views: list[MessageView | Static] = [self._view(talk, message) for message in talk.messages]
        async with self.batch():
            await self.remove_children()
            await self.mount_all(views or [Static(greeting, id="greeting")])
        self.anchor()

    async def add(self, talk: Talk) -> MessageView:
        """The last message of the conversation, which is new."""
        view = self._view(talk, talk.messages[-1])
        await self.query("#greeting").remove()
        await self.mount(view)
        self.anchor()
        return view

    async def cut(self, message: int) -> None:
        """Without this message and what came after it."""
        found = False
        for view in self.query(MessageView):
            found = found or view.message.id == message
            if found:
                await view.remove()

    def _view(self, talk: Talk, message: Message) -> MessageView:

        kind = QuestionView if message.role == "user" else AnswerView
        return kind(message, talk.place(message))
