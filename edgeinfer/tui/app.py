"""The app: what is open (a model, a session), and what opens over the chat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from textual import work
from textual.app import App, SystemCommand
from textual.screen import Screen

from edgeinfer.errors import EdgeInferError
from edgeinfer.sessions.store import Session, SessionStore
from edgeinfer.text.safe import safe_text
from edgeinfer.tui.screens.chat import ChatScreen
from edgeinfer.tui.talk import Talk
from edgeinfer.tui.themes import THEMES

if TYPE_CHECKING:
    from edgeinfer.client import Model

_GREETING = """\
This is edgeinfer, on this machine and nowhere else.

Ask something below. F1 tells what there is to press and to type."""
_TINY = """\


The model that answers is edgeinfer-tiny: it came with the program, knows how edgeinfer is used and little \
else. F3 shows the other models of this machine."""


class ChatApp(App[None]):
    """Talk with a model of this machine.

    Args:
        store: where sessions are kept.
        load: opens a model by name or path; called in a thread.
        name: of the first model; None: the one that came with the program.
        local: gives the names of the models that can be chosen; called in a thread.
        generation: keyword arguments of `Model.chat`.
        think: whether models that can shall think first; None: as they do by themselves.
        system: message of new sessions.
        session: to open; None: a new one.
    """

    TITLE = "edgeinfer"
    CSS_PATH = "app.tcss"

    def __init__(
        self,
        store: SessionStore,
        load: Callable[[str | None], Model],
        name: str | None,
        *,
        local: Callable[[], Sequence[str]],
        generation: dict[str, Any],
        think: bool | None = None,
        system: str = "",
        session: int | None = None,
    ) -> None:
        super().__init__()
        self._store = store
        self._load = load
        self._first = name
        self._local = local
        self._generation = generation
        self._think = think
        self._system = system
        self._session = session
        self._model: Model | None = None
        self.chat = ChatScreen()

    @property
    def greeting(self) -> str:
        """What an empty conversation shows; it says what the bundled model is."""
        tiny = self._model is not None and self._model.name == "edgeinfer-tiny"
        return _GREETING + (_TINY if tiny else "")

    async def on_mount(self) -> None:
        """Show where to write, and open the model meanwhile."""
        for theme in THEMES:
            self.register_theme(theme)
        await self.push_screen(self.chat)
        if self._store.damaged is not None:
            self.notify(
                f"The file of sessions was damaged; it is now {self._store.damaged}",
                severity="warning",
                timeout=20,
            )
        self.open_model(self._first)

    @work(group="model", exclusive=True)
    async def open_model(self, name: str | None) -> None:
        """Answer with this model from now on; the conversation goes on."""
        self.chat.tell(f"Opening {name or 'the model'}")
        try:
            model = await asyncio.to_thread(self._load, name)
        except EdgeInferError as error:
            self.chat.tell("")
            self.tell_error(error)
            if self._model is None:
                self.action_models()
            return
        former, self._model = self._model, model
        try:
            await self.chat.open(self._talk(self._session_for(model), model))
        except EdgeInferError as error:
            self.tell_error(error)
        if former is not None:
            await asyncio.to_thread(former.close)

    def _talk(self, session: Session, model: Model) -> Talk:
        return Talk(self._store, session, model, self._generation, think=self._think)

    def _session_for(self, model: Model) -> Session:
        """The one that is open, or that was asked for, or a new one."""
        if self.chat.talk is not None:
            return self._store.update(self.chat.talk.session.id, model=model.name)
        if self._session is not None:
            return self._store.session(self._session)
        return self._store.create(model.name, system=self._system)

    async def action_new_session(self) -> None:
        """Begin anew; what was said is kept."""
        if self._model is not None:
            session = self._store.create(self._model.name, system=self._system)
            await self.chat.open(self._talk(session, self._model))

    @work
    async def action_sessions(self) -> None:
        """Choose one and go on with it."""
        from edgeinfer.tui.screens.sessions import SessionsScreen

        id = await self.push_screen_wait(SessionsScreen(self._store))
        if id is not None and self._model is not None:
            await self.chat.open(self._talk(self._store.session(id), self._model))

    @work
    async def action_models(self) -> None:
        """Choose one and answer with it."""
        from edgeinfer.tui.screens.models import ModelsScreen

        current = self._model.name if self._model is not None else ""
        names = await asyncio.to_thread(self._local)
        name = await self.push_screen_wait(ModelsScreen(names, current))
        if name is not None:
            self.open_model(name)

    @work
    async def action_parameters(self) -> None:
        """Change the system message and the parameters of the session."""
        from edgeinfer.tui.screens.parameters import ParametersScreen

        talk = self.chat.talk
        if talk is None:
            return
        kept = await self.push_screen_wait(ParametersScreen(talk.session.system, talk.session.parameters))
        if kept is not None:
            system, parameters = kept
            talk.update(system=system, parameters=parameters)

    def action_help(self) -> None:
        """Tell what there is."""
        from edgeinfer.tui.screens.help import HelpScreen

        self.push_screen(HelpScreen())

    def tell_error(self, error: EdgeInferError) -> None:
        """What is wrong and what to do."""
        self.notify(
            safe_text(error.hint or ""),
            title=safe_text(error.message),
            severity="error",
            timeout=12,
            markup=False,
        )

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the palette offers."""
        yield SystemCommand("New conversation", "Begin anew; what was said is kept", self.action_new_session)
        yield SystemCommand("Sessions", "Open, search, rename, delete", self.action_sessions)
        yield SystemCommand("Models", "Answer with another model", self.action_models)
        yield SystemCommand("Parameters", "System message, temperature and so on", self.action_parameters)
        yield SystemCommand("Engine", "Speeds, cache, memory", self.chat.action_engine)
        yield SystemCommand("Theme", "Colours", self.action_change_theme)
        yield SystemCommand("Help", "Keys and commands", self.action_help)
        yield SystemCommand("Quit", "End", self.action_quit)

    def close_model(self) -> None:
        """After the app has ended."""
        if self._model is not None:
            self._model.close()
