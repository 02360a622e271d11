"""The conversation with everything around it."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Footer, Static
from textual.worker import Worker

from edgeinfer.engine.events import QueuedEvent, ReadingEvent, ShiftedEvent
from edgeinfer.errors import EdgeInferError
from edgeinfer.sessions.store import Message
from edgeinfer.streaming import Progress, Token
from edgeinfer.text.safe import safe_text
from edgeinfer.tui.attach import read_mentioned
from edgeinfer.tui.commands import is_command
from edgeinfer.tui.messages import Asked, Scrolled, Submitted
from edgeinfer.tui.slash import Slash
from edgeinfer.tui.talk import Talk
from edgeinfer.tui.widgets.engine_panel import EnginePanel
from edgeinfer.tui.widgets.message import AnswerView
from edgeinfer.tui.widgets.prompt import Prompt
from edgeinfer.tui.widgets.suggestions import Suggestions
from edgeinfer.tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from edgeinfer.tui.app import ChatApp

_CODE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_TWICE_S = 2.0  # seconds in which a second Ctrl+C ends
_LEAST = (40, 10)  # columns and lines of a terminal that anything can be shown on


class ChatScreen(Screen[None]):
    """One session. `talk` is None until the model is open."""

    app: ChatApp
    BINDINGS = [  # noqa: RUF012
        Binding("f1,question_mark", "app.help", "Help", key_display="f1"),
        Binding("f2", "app.sessions", "Sessions"),
        Binding("f3", "app.models", "Models"),
        Binding("f4", "app.parameters", "Parameters"),
        Binding("f5", "engine", "Engine"),
        Binding("f6", "app.attach", "Use the server", priority=True),  # before that of where one writes
        Binding("ctrl+p", "app.command_palette", "All"),
        Binding("ctrl+n", "app.new_session", "New"),
        Binding("escape", "stop", "Stop", show=False),
        Binding("ctrl+c", "interrupt", "Stop, clear, end", show=False),
        Binding("ctrl+z", "app.suspend_process", "Sleep", show=False),
        Binding("ctrl+l", "redraw", "Draw anew", show=False),
        Binding("f9", "copy_answer", "Copy", show=False),
        Binding("f8", "copy_code", "Copy code", show=False),
        Binding("ctrl+r", "regenerate", "Another answer", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.talk: Talk | None = None
        self._editing: Message | None = None  # what the next message is said in the place of
        self._writing: AnswerView | None = None  # whose first token has come
        self._interrupted = -_TWICE_S  # when Ctrl+C had nothing to stop or clear

    def compose(self) -> ComposeResult:
        """A line above, the conversation, where to write; the engine beside it on demand."""
        yield Static(Content(f"The terminal needs at least {_LEAST[0]} x {_LEAST[1]}"), id="small")
        with Horizontal(id="top"):
            yield Static(id="title")
            yield Static(id="model")
        with Horizontal(id="body"):
            with Vertical():
                yield Transcript()
                yield Static("\u2193 more below: Ctrl+End", id="below")
                yield Static(id="status")
                suggestions = Suggestions()
                yield suggestions
                yield Prompt(suggestions)
            yield EnginePanel()
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Write at once."""
        self.query_one(EnginePanel).display = False
        self.query_one("#below").display = False
        self.query_one(Prompt).focus()

    def on_resize(self, event: Resize) -> None:
        """Say so where nothing could be read."""
        was_small = self.has_class("small")
        self.set_class(event.size.width < _LEAST[0] or event.size.height < _LEAST[1], "small")
        if was_small and not self.has_class("small"):  # what is hidden loses the keyboard
            self.call_after_refresh(self.query_one(Prompt).focus)

    async def open(self, talk: Talk) -> None:
        """Show a conversation and go on with it; of the one before nothing is being written."""
        if self.talk is None:
            self.query_one(Prompt).remember(talk.said_before())
        elif self.talk.session.id != talk.session.id:  # else another model answers
            self._end_editing()
        self.talk = talk
        self.query_one(EnginePanel).model = talk.model
        await self.query_one(Transcript).show(talk, self.app.greeting)
        self.tell_session()
        self.tell("")

    def tell_session(self) -> None:
        """In the line above: which session, who answers."""
        assert self.talk is not None
        title = safe_text(self.talk.session.title) or "New conversation"
        self.query_one("#title", Static).update(Content(title))
        at = f" at {self.app.where}" if self.app.where else ""
        self.query_one("#model", Static).update(Content(safe_text(f"{self.talk.model.name}{at}")))

    def tell(self, text: str) -> None:
        """Above the prompt: what is going on."""
        line = self.query_one("#status", Static)
        line.update(Content(safe_text(text)))
        line.display = bool(text)

    @on(Scrolled)
    def _scrolled(self) -> None:
        self.query_one("#below").display = not self.query_one(Transcript).ends_in_view

    @on(Submitted)
    async def _submitted(self, event: Submitted) -> None:
        if event.text.startswith("/") and is_command(event.text):
            if event.attachments:  # they are for the next message
                self.query_one(Prompt).write("", event.attachments)
            await Slash(self.app, self).run(event.text)
        elif self.talk is None:
            self.query_one(Prompt).write(event.text, event.attachments)
            self.notify("no model is open yet")
        else:
            await self._say(self.talk, event)

    async def _say(self, talk: Talk, event: Submitted) -> None:
        await self.stopped()
        try:
            mentioned = await asyncio.to_thread(read_mentioned, event.text)
            attachments = list(dict.fromkeys([*event.attachments, *mentioned]))  # once, if edited
            talk.say(event.text, attachments, self._editing)
            editing, self._editing = self._editing, None
            if editing is not None:
                await self.query_one(Transcript).cut(editing.id)
            await self.query_one(Transcript).add(talk)
        except EdgeInferError as error:
            self.query_one(Prompt).write(event.text, event.attachments)  # nothing that was written is lost
            self.app.tell_error(error)
            return
        self.tell_session()
        self.answer(talk)

    @work(group="answer", exclusive=True)
    async def answer(self, talk: Talk) -> None:
        """Have the last message answered, on the screen and in the store."""
        try:
            message = talk.begin_answer()
            view = await self.query_one(Transcript).add(talk)
            assert isinstance(view, AnswerView)
            gc.freeze()  # a look through all that is there already stops the keyboard for 60 to 130 ms
            self.tell("Reading")
            async for event in talk.write(message):
                if isinstance(event, Token):
                    self._tell_writing(view)
                    view.grow(event.text, event.reasoning)
                else:
                    self._writing = None
                    self.tell(_progress(event))
            written = next(m for m in talk.messages if m.id == message.id)
            if view.is_attached:
                await view.end(written, talk.place(written))
        except EdgeInferError as error:  # of the store
            self.app.tell_error(error)
        finally:
            gc.unfreeze()
            self._writing = None
            if self.is_running:  # else the app is ending
                self.tell("")
                self.app.tell_unsaved()

    def _tell_writing(self, view: AnswerView) -> None:
        if self._writing is not view:  # once an answer: the line is laid out anew
            self._writing = view
            self.tell("Answering \u00b7 Esc stops")

    @on(Asked)
    async def _asked(self, event: Asked) -> None:
        if self.talk is not None:
            with self.app.telling():
                await self._obey(self.talk, event)

    async def _obey(self, talk: Talk, event: Asked) -> None:
        message = event.message
        if event.what == "copy":
            self.copy(message.content)
        elif event.what == "copy code":
            self._copy_code(message, slice(None))
        elif event.what in ("former", "next"):
            await self.stopped()
            if talk.other(message, 1 if event.what == "next" else -1):
                self._end_editing()  # perhaps of what is not shown any more
                await self.query_one(Transcript).show(talk, self.app.greeting)
        elif event.what == "edit":
            self._editing = message
            prompt = self.query_one(Prompt)
            prompt.write(message.content, message.attachments)
            prompt.focus()
            self.tell("Editing an earlier message: Enter sends it again, Escape leaves it as it was")
        else:
            await self._regenerate(talk, message)

    async def _regenerate(self, talk: Talk, message: Message) -> None:
        await self.stopped()
        talk.forget_answer(message)
        await self.query_one(Transcript).cut(message.id)
        self.answer(talk)
        self.query_one(Prompt).focus()

    async def action_regenerate(self) -> None:
        """Another answer in the place of the last one."""
        talk = self.talk
        if talk is not None and talk.messages and talk.messages[-1].role == "assistant":
            with self.app.telling():
                await self._regenerate(talk, talk.messages[-1])

    def copy(self, text: str) -> None:
        """To the clipboard of the terminal."""
        self.app.copy_to_clipboard(text)
        self.notify(f"{len(text):,} characters copied")

    def action_copy_answer(self) -> None:
        """The last one."""
        if self.talk is not None and self.talk.messages:
            self.copy(self.talk.messages[-1].content)

    def action_copy_code(self) -> None:
        """The last block of the last answer."""
        if self.talk is not None and self.talk.messages:
            self._copy_code(self.talk.messages[-1], slice(-1, None))

    def _copy_code(self, message: Message, which: slice) -> None:
        blocks = [code for _, code in _CODE.findall(message.content)][which]
        if blocks:
            self.copy("\n".join(blocks))
        else:
            self.notify("there is no code in it")

    @on(Suggestions.Clicked)
    def _take_suggestion(self) -> None:
        self.query_one(Prompt).take_suggestion()

    async def action_interrupt(self) -> None:
        """Copy what is selected, or stop the answer, or clear what is written, or end the second time."""
        prompt = self.query_one(Prompt)
        selected = self.get_selected_text()
        if selected:
            self.copy(selected)
        elif self.is_answering or self._editing is not None:
            await self.action_stop()
        elif not prompt.is_blank:
            prompt.put_aside()
        elif time.monotonic() - self._interrupted < _TWICE_S:
            await self.app.action_quit()
        else:
            self._interrupted = time.monotonic()
            self.notify("Ctrl+C again ends", timeout=_TWICE_S)

    def action_redraw(self) -> None:
        """All of it, if another program has written over it."""
        self.app.refresh(layout=True)

    async def action_stop(self) -> None:
        """End the answer, or an edit that was begun; then follow what comes again."""
        if self._editing is not None:
            self._end_editing()
        elif self.talk is not None:
            self.talk.stop()
        self.query_one(Prompt).focus()

    def _end_editing(self) -> None:
        """Leave the message as it was."""
        if self._editing is not None:
            self._editing = None
            self.query_one(Prompt).write("", ())
            self.tell("")

    async def action_scroll(self, where: str) -> None:
        """Move the conversation while one writes."""
        transcript = self.query_one(Transcript)
        if where == "home":
            await transcript.show_all()
        elif where == "end":
            transcript.anchor()
        elif where == "page_up":
            transcript.release_anchor()
            transcript.scroll_page_up(animate=False)
        else:
            transcript.scroll_page_down(animate=False)

    def action_engine(self) -> None:
        """Show or hide what the engine does."""
        panel = self.query_one(EnginePanel)
        panel.display = not panel.display

    @property
    def is_answering(self) -> bool:
        """Whether an answer is being written."""
        return bool(self._answering())

    async def stopped(self) -> None:
        """Stop the answer, and wait until nothing of it is written any more."""
        if self.talk is not None:
            self.talk.stop()
        running = self._answering()
        if running:  # of none Textual makes all
            await self.workers.wait_for_complete(running)

    def _answering(self) -> list[Worker[None]]:
        return [worker for worker in self.workers if worker.group == "answer" and not worker.is_finished]


def _progress(event: Progress) -> str:
    if isinstance(event, QueuedEvent):
        return f"Waiting: number {event.position} in the queue"
    if isinstance(event, ReadingEvent):
        return f"Reading: {event.n_read:,} of {event.n_prompt:,} tokens"
    if isinstance(event, ShiftedEvent):
        return f"The context was full: {event.n_dropped:,} tokens are forgotten"
    return ""
