"""Commands that are typed where messages are are obeyed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from edgeinfer.errors import InvalidRequest
from edgeinfer.parameters import changed
from edgeinfer.tui.attach import read_attachment
from edgeinfer.tui.commands import command_named
from edgeinfer.tui.saving import save
from edgeinfer.tui.talk import Talk
from edgeinfer.tui.widgets.prompt import Prompt

if TYPE_CHECKING:
    from edgeinfer.tui.app import ChatApp
    from edgeinfer.tui.screens.chat import ChatScreen


class Slash:
    """Obeys one line."""

    def __init__(self, app: ChatApp, screen: ChatScreen) -> None:
        self._app, self._screen = app, screen

    async def run(self, line: str) -> None:
        """Whatever is wrong with it is told on the screen."""
        name, _, rest = line[1:].strip().partition(" ")
        rest = rest.strip()
        with self._app.telling():
            await self._obey(name, rest)

    async def _obey(self, name: str, rest: str) -> None:
        app = self._app
        command = command_named(name)
        if command is None:
            raise InvalidRequest(f"there is no command /{name}", hint="/help lists them")
        match command.names[0]:
            case "bye":
                await app.action_quit()
            case "help":
                app.action_help()
            case "clear":
                await app.action_new_session()
            case "model" if rest:
                app.open_or_fetch(rest)
            case "model":
                app.action_models()
            case "sessions":
                app.action_sessions()
            case "set":
                self._set(rest)
            case "system":
                self._system(rest)
            case "attach":
                await self._attach(rest)
            case "rename":
                self._rename(rest)
            case "save":
                self._save(rest)

    def _set(self, rest: str) -> None:
        if not rest:
            self._app.action_parameters()
            return
        talk = self._talk()
        name, _, value = rest.partition(" ")
        talk.update(parameters=changed(talk.session.parameters, name, value.strip()))
        told = f"is {value.strip()}" if value.strip() else "has its default"
        self._screen.notify(f"{name} {told} from the next answer on", markup=False)

    def _system(self, rest: str) -> None:
        if not rest:
            self._app.action_parameters()
            return
        self._talk().update(system=rest)
        self._screen.notify("the model is told so from the next answer on")

    async def _attach(self, rest: str) -> None:
        if not rest:
            raise InvalidRequest("/attach needs the path of a text file", hint="@path in a message does too")
        self._screen.query_one(Prompt).attach(await asyncio.to_thread(read_attachment, Path(rest)))

    def _rename(self, rest: str) -> None:
        if not rest:
            raise InvalidRequest("/rename needs a title")
        self._talk().update(title=rest)
        self._screen.tell_session()

    def _save(self, rest: str) -> None:
        talk = self._talk()
        self._screen.notify(save(talk.session, talk.messages, rest), markup=False)

    def _talk(self) -> Talk:
        if self._screen.talk is None:
            raise InvalidRequest("no model is open yet")
        return self._screen.talk
