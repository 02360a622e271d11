"""The app: what is open (a model, a session), and what opens over the chat."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from textual import work
from textual.app import App, SystemCommand
from textual.screen import Screen
from textual.worker import WorkerFailed

from edgeinfer.errors import EdgeInferError
from edgeinfer.sessions.store import Session, SessionStore
from edgeinfer.text.safe import safe_text
from edgeinfer.tui.hangup import on_hangup
from edgeinfer.tui.screens.chat import ChatScreen
from edgeinfer.tui.talk import Talk
from edgeinfer.tui.themes import THEMES

if TYPE_CHECKING:
    from edgeinfer.chat_model import ChatModel
    from edgeinfer.tui.attached import AttachedServer
    from edgeinfer.tui.source import Source


class ChatApp(App[None]):
    """Talk with a model.

    Args:
        store: where sessions are kept.
        source: opens models.
        name: of the first model; None: the first one of the source.
        generation: keyword arguments of `Model.chat`.
        think: whether models that can shall think first; None: as they do by themselves.
        system: message of new sessions.
        session: to open; None: a new one.
        nearby: a server that may run, to offer it if it does.

    Attributes:
        bug: what ended the app, if something did that nobody foresaw.
        greeting: what an empty conversation shows.
    """

    TITLE = "edgeinfer"
    CSS_PATH = "app.tcss"
    COMMAND_PALETTE_BINDING = "ctrl+backslash"  # beside Ctrl+P, which the chat shows among its keys
    HORIZONTAL_BREAKPOINTS = [(0, "narrow"), (100, "wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "short"), (30, "high")]  # noqa: RUF012

    def __init__(
        self,
        store: SessionStore,
        source: Source,
        name: str | None,
        *,
        generation: dict[str, Any],
        think: bool | None = None,
        system: str = "",
        session: int | None = None,
        nearby: AttachedServer | None = None,
    ) -> None:
        super().__init__()
        self._store = store
        self._source = source
        self._wanted = name  # of the model that is open, as it was asked for
        self._generation = generation
        self._think = think
        self._system = system
        self._session = session
        self._nearby = nearby
        self._offered = False  # it answers, and was not taken yet
        self._model: ChatModel | None = None
        self._told_unsaved = False
        self._leaving = threading.Lock()
        self.bug: BaseException | None = None
        self.greeting = ""
        self.chat = ChatScreen()

    async def on_mount(self) -> None:
        """Show where to write, and open the model meanwhile."""
        self._take_theme()
        self._take_signals()
        await self.push_screen(self.chat)
        if self._store.damaged is not None:
            self._warn("The file of sessions was damaged", f"It is now {self._store.damaged}")
        self.tell_unsaved()
        self.open_model(self._wanted)
        self._offer_server()

    @property
    def where(self) -> str:
        """The server that answers; "" if this process does."""
        return self._source.where

    def _take_theme(self) -> None:
        for theme in THEMES:
            self.register_theme(theme)
        with self.telling():
            theme_name = self._store.preference("theme")
            if theme_name in self.available_themes:
                self.theme = theme_name
        self.theme_changed_signal.subscribe(self, lambda theme: self._keep_theme(theme.name))

    def _keep_theme(self, name: str) -> None:
        with self.telling():
            self._store.prefer("theme", name)

    def _take_signals(self) -> None:
        if self.is_headless:
            return
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, lambda: self.exit(return_code=128 + signal.SIGTERM))
        loop.add_signal_handler(signal.SIGHUP, self._leave_lost_terminal)
        on_hangup(self._leave_lost_terminal)

    def _leave_lost_terminal(self) -> None:
        """Nothing can be drawn or restored any more, and writing to it would wait for ever."""
        with self._leaving:  # SIGHUP and the end of the terminal come together
            self.close_model()
            os._exit(128 + signal.SIGHUP)

    @work(group="model", exclusive=True)
    async def open_model(self, name: str | None, source: Source | None = None) -> None:
        """Answer with this model from now on, of another source if it is given; the conversation goes on."""
        source = source or self._source
        at = f" at {source.where}" if source.where else ""
        self.chat.tell(f"Opening {name or 'the model'}{at}")
        try:
            model = await source.open(name)
        except EdgeInferError as error:
            self.chat.tell("")
            if self._model is None:
                self.chat.tell("No model is open: F3 shows what there is")
                self._choose_model("\n".join(filter(None, [error.message, error.hint])))
            else:
                self.tell_error(error)
            return
        from edgeinfer.tui.greeting import greeting

        former, self._model, self._source = self._model, model, source
        self._wanted = model.name if source.where else name
        self.greeting = await asyncio.to_thread(greeting, model.name, source.where)
        with self.telling():
            await self.open_session(self._session_for(model))
        if former is not None:
            await asyncio.to_thread(former.close)

    @work
    async def _offer_server(self) -> None:
        """Tell once of a server that runs already: it saves loading a model twice."""
        nearby = self._nearby
        if nearby is not None and (name := await nearby.answering(self._wanted)) is not None:
            self._offered = True
            self.refresh_bindings()
            title = f"edgeinfer serve runs at {nearby.where}"
            self._tell(title, f"It has {name} open: F6 answers with that, loaded once", "information", 10)

    def action_attach(self) -> None:
        """Answer with the server that was offered."""
        if self._offered:
            self._offered = False
            self.refresh_bindings()
            self.clear_notifications()
            self.open_model(self._wanted, self._nearby)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A server can be taken only where one is offered."""
        return self._offered if action == "attach" else super().check_action(action, parameters)

    async def open_session(self, session: Session) -> None:
        """Show it, and go on with it; an answer that is being written ends first."""
        assert self._model is not None
        await self.chat.stopped()  # what it still writes is part of what is read here
        talk = Talk(self._store, session, self._model, self._generation, think=self._think)
        await self.chat.open(talk)

    def _session_for(self, model: ChatModel) -> Session:
        """The one that is open, or that was asked for, or a new one."""
        name = self._wanted or model.name
        if self.chat.talk is not None:
            return self._store.update(self.chat.talk.session.id, model=name)
        if self._session is not None:
            return self._store.session(self._session)
        return self._store.create(name, system=self._system)

    async def action_new_session(self) -> None:
        """Begin anew; what was said is kept."""
        if self._model is not None:
            with self.telling():
                session = self._store.create(self._wanted or self._model.name, system=self._system)
                await self.open_session(session)

    @work
    async def action_sessions(self) -> None:
        """Choose one and go on with it."""
        from edgeinfer.tui.screens.sessions import SessionsScreen

        id = await self.push_screen_wait(SessionsScreen(self._store))
        if self.chat.talk is None:
            return
        with self.telling():
            open_now = self.chat.talk.session.id
            if id is not None and (id != open_now or not self.chat.is_answering):
                await self.open_session(self._store.session(id))
            elif self._store.exists(open_now):
                self.chat.talk.session = self._store.session(open_now)  # perhaps it has another title
                self.chat.tell_session()
            else:
                await self.action_new_session()

    def action_models(self) -> None:
        """Choose one and answer with it."""
        self._choose_model()

    @work
    async def _choose_model(self, problem: str = "") -> None:
        from edgeinfer.tui.screens.models import ModelsScreen

        source = self._source
        current = self._model.name if self._model is not None else ""
        with self.telling():
            find = await source.finder()
            name = await self.push_screen_wait(ModelsScreen(find, current, problem, source.where))
            if name is not None:
                self.open_or_fetch(name)

    @work
    async def open_or_fetch(self, name: str) -> None:
        """Answer with this model, wherever it is now."""
        from edgeinfer.tui.screens.pull import PullScreen

        with self.telling():
            if not await self._source.is_elsewhere(name) or await self.push_screen_wait(PullScreen(name)):
                self.open_model(name)

    @work
    async def action_parameters(self) -> None:
        """Change the system message and the parameters of the session."""
        from edgeinfer.tui.screens.parameters import ParametersScreen

        talk = self.chat.talk
        if talk is None:
            return
        kept = await self.push_screen_wait(
            ParametersScreen(talk.session.system, talk.session.parameters, talk.model.defaults)
        )
        if kept is not None:
            system, parameters = kept
            with self.telling():
                talk.update(system=system, parameters=parameters)

    async def action_quit(self) -> None:
        """End; an answer that is being written ends first."""
        await self.chat.stopped()
        self.exit()

    def action_help(self) -> None:
        """Tell what there is."""
        from edgeinfer.tui.screens.help import HelpScreen

        self.push_screen(HelpScreen())

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """What goes wrong inside is told, and the app goes on."""
        try:
            yield
        except EdgeInferError as error:
            self.tell_error(error)

    def tell_error(self, error: EdgeInferError) -> None:
        """What is wrong and what to do."""
        self._tell(error.message, error.hint or "", "error", 12)

    def tell_unsaved(self) -> None:
        """Once, when conversations cannot be saved any more."""
        failure = self._store.failure
        if failure is not None and not self._told_unsaved:
            self._told_unsaved = True
            text = f"{failure.message}. /save FILE keeps this one."
            self._warn("What is said from now on is lost at the end", text)

    def _warn(self, title: str, text: str) -> None:
        self._tell(title, text, "warning", 30)

    def _tell(self, title: str, text: str, severity: Any, seconds: float) -> None:
        title, text = safe_text(title), safe_text(text)
        self.notify(text, title=title.replace("[", "\\["), severity=severity, timeout=seconds, markup=False)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the palette offers."""
        chat = self.chat
        yield SystemCommand("New conversation", "Begin anew; what was said is kept", self.action_new_session)
        yield SystemCommand("Sessions", "Open, search, rename, save, delete", self.action_sessions)
        yield SystemCommand("Models", "Answer with another model, fetch one", self.action_models)
        yield SystemCommand("Parameters", "System message, temperature and so on", self.action_parameters)
        yield SystemCommand("Engine", "Speeds, cache, memory", chat.action_engine)
        yield SystemCommand("Another answer", "In the place of the last one", chat.action_regenerate)
        yield SystemCommand("Copy the answer", "The last one", chat.action_copy_answer)
        yield SystemCommand("Copy the code", "The last block of the last answer", chat.action_copy_code)
        yield SystemCommand("Theme", "Colours: light, dark, high contrast", self.action_change_theme)
        yield SystemCommand("Help", "Keys and commands", self.action_help)
        yield SystemCommand("Quit", "End", self.action_quit)

    def close_model(self) -> None:
        """After the app has ended."""
        if self._model is not None:
            self._model.close()

    def _handle_exception(self, error: Exception) -> None:
        """End without Textual's traceback over the terminal: the command line tells what `bug` is."""
        if not self.is_running or self._exit:  # what is still at work misses widgets that are gone already
            return
        if self.bug is None:
            self.bug = error.error if isinstance(error, WorkerFailed) else error
        self._return_code = 1
        if self._exception is None:  # for Textual's pilot
            self._exception = error
            self._exception_event.set()
        self.panic()
