"""The conversation with everything around it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer, Static

from edgeinfer.engine.events import QueuedEvent, ReadingEvent
from edgeinfer.errors import EdgeInferError
from edgeinfer.sessions.store import Message
from edgeinfer.streaming import Progress, Token
from edgeinfer.text.safe import safe_text
from edgeinfer.tui.messages import Asked, Submitted
from edgeinfer.tui.slash import Slash
from edgeinfer.tui.talk import Talk
from edgeinfer.tui.widgets.engine_panel import EnginePanel
from edgeinfer.tui.widgets.message import AnswerView
from edgeinfer.tui.widgets.prompt import Prompt
from edgeinfer.tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from edgeinfer.tui.app import ChatApp

_CODE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


class ChatScreen(Screen[None]):
    """One session. `talk` is None until the model is open."""

    app: ChatApp
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "stop", "Stop"),
        Binding("f2", "app.sessions", "Sessions"),
        Binding("f3", "app.models", "Models"),
        Binding("f4", "app.parameters", "Parameters"),
        Binding("f5", "engine", "Engine"),
        Binding("ctrl+n", "app.new_session", "New"),
        Binding("ctrl+y", "copy_answer", "Copy", show=False),
        Binding("f1", "app.help", "Help"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.talk: Talk | None = None
        self._editing: Message | None = None  # what the next message is said in the place of

    def compose(self) -> ComposeResult:
        """A line above, the conversation, where to write; the engine beside it on demand."""
        yield Static(id="top")
        with Horizontal():
            with Vertical():
                yield Transcript()
                yield Static(id="status")
                yield Prompt()
            yield EnginePanel()
        yield Footer()

    def on_mount(self) -> None:
        """Write at once."""
        self.query_one(EnginePanel).display = False
        self.query_one(Prompt).focus()

    async def open(self, talk: Talk) -> None:
        """Show a conversation and go on with it."""
        self.action_stop()
        self.talk = talk
        self._editing = None
        self.query_one(EnginePanel).model = talk.model
        self.query_one(Prompt).remember([m.content for m in talk.messages if m.role == "user"])
        await self.query_one(Transcript).show(talk, self.app.greeting)
        self.tell_session()
        self.tell("")

    def tell_session(self) -> None:
        """In the line above: which session, who answers."""
        assert self.talk is not None
        title = safe_text(self.talk.session.title) or "New conversation"
        model = self.talk.model
        self.query_one("#top", Static).update(f"{title} \u00b7 {safe_text(model.name)}")

    def tell(self, text: str) -> None:
        """Above the prompt: what is going on."""
        line = self.query_one("#status", Static)
        line.update(text)
        line.display = bool(text)

    @on(Submitted)
    async def _submitted(self, event: Submitted) -> None:
        if event.text.startswith("/") and "\n" not in event.text:
            await Slash(self.app, self).run(event.text)
        elif self.talk is None:
            self.query_one(Prompt).text = event.text
            self.notify("the model is still being opened")
        else:
            await self._say(self.talk, event.text)

    async def _say(self, talk: Talk, text: str) -> None:
        await self._stopped()
        try:
            if self._editing is not None:
                await self.query_one(Transcript).cut(self._editing.id)
                talk.rewrite(self._editing, text)
                self._editing = None
            else:
                talk.say(text)
        except EdgeInferError as error:
            self.query_one(Prompt).text = text  # nothing that was written is lost
            self.app.tell_error(error)
            return
        await self.query_one(Transcript).add(talk)
        self.tell_session()
        self.answer(talk)

    @work(group="answer", exclusive=True)
    async def answer(self, talk: Talk) -> None:
        """Have the last message answered, on the screen and in the store."""
        try:
            message = talk.begin_answer()
        except EdgeInferError as error:
            self.app.tell_error(error)
            return
        view = await self.query_one(Transcript).add(talk)
        assert isinstance(view, AnswerView)
        try:
            async for event in talk.write(message):
                if isinstance(event, Token):
                    self.tell("")
                    await view.grow(event.text, event.reasoning)
                else:
                    self.tell(_progress(event))
        except EdgeInferError as error:
            self.app.tell_error(error)
        finally:
            self.tell("")
            written = next((m for m in talk.messages if m.id == message.id), None)
            if view.is_mounted and written is not None:
                await view.end(written, talk.place(written))

    @on(Asked)
    async def _asked(self, event: Asked) -> None:
        talk, message = self.talk, event.message
        if talk is None:
            return
        if event.what == "copy":
            self.copy(message.content)
        elif event.what == "copy code":
            self.copy("\n".join(_CODE.findall(message.content)) or message.content)
        elif event.what in ("former", "next"):
            await self._stopped()
            if talk.other(message, 1 if event.what == "next" else -1):
                await self.query_one(Transcript).show(talk, self.app.greeting)
        elif event.what == "edit":
            self._editing = message
            prompt = self.query_one(Prompt)
            prompt.text = message.content
            prompt.move_cursor(prompt.document.end)
            prompt.focus()
            self.tell("Editing an earlier message: Enter sends it again, Escape leaves it as it was")
        else:
            await self._stopped()
            talk.forget_answer(message)
            await self.query_one(Transcript).cut(message.id)
            self.answer(talk)
            self.query_one(Prompt).focus()

    def copy(self, text: str) -> None:
        """To the clipboard of the terminal."""
        self.app.copy_to_clipboard(text)
        self.notify(f"{len(text)} characters copied")

    def action_copy_answer(self) -> None:
        """The last one."""
        if self.talk is not None and self.talk.messages:
            self.copy(self.talk.messages[-1].content)

    def action_stop(self) -> None:
        """End the answer, or an edit that was begun."""
        if self._editing is not None:
            self._editing = None
            self.query_one(Prompt).clear()
            self.tell("")
        elif self.talk is not None:
            self.talk.stop()
        self.query_one(Prompt).focus()

    def action_engine(self) -> None:
        """Show or hide what the engine does."""
        panel = self.query_one(EnginePanel)
        panel.display = not panel.display

    async def _stopped(self) -> None:
        """Once no answer is being written any more."""
        if self.talk is not None:
            self.talk.stop()
        running = [worker for worker in self.workers if worker.group == "answer" and not worker.is_finished]
        await self.workers.wait_for_complete(running)


def _progress(event: Progress) -> str:
    if isinstance(event, QueuedEvent):
        return f"Waiting: number {event.position} in the queue"
    if isinstance(event, ReadingEvent):
        return f"Reading: {event.n_read} of {event.n_prompt} tokens"
    return ""
