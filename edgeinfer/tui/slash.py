"""Commands that are typed where messages are: /model, /system, /clear, /save, /set, /help, /bye."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeinfer.errors import DiskError, EdgeInferError, InvalidRequest
from edgeinfer.parameters import changed
from edgeinfer.sessions.export import as_json, as_markdown
from edgeinfer.tui.talk import Talk

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
        try:
            await self._obey(name, rest)
        except EdgeInferError as error:
            self._app.tell_error(error)

    async def _obey(self, name: str, rest: str) -> None:
        app = self._app
        if name in ("bye", "exit", "quit", "q"):
            app.exit()
        elif name in ("help", "?"):
            app.action_help()
        elif name in ("clear", "new"):
            await app.action_new_session()
        elif name in ("model", "models", "load"):
            if rest:
                app.open_model(rest)
            else:
                app.action_models()
        elif name in ("sessions", "resume"):
            app.action_sessions()
        elif name == "set":
            self._set(rest)
        elif name == "system":
            self._system(rest)
        elif name in ("save", "export"):
            self._save(rest)
        else:
            raise InvalidRequest(f"there is no command /{name}", hint="/help lists them")

    def _set(self, rest: str) -> None:
        if not rest:
            self._app.action_parameters()
            return
        talk = self._talk()
        name, _, value = rest.partition(" ")
        talk.update(parameters=changed(talk.session.parameters, name, value.strip()))
        self._screen.notify(f"{name} is {value.strip()} from the next answer on")

    def _system(self, rest: str) -> None:
        if not rest:
            self._app.action_parameters()
            return
        self._talk().update(system=rest)
        self._screen.notify("the model is told so from the next answer on")

    def _save(self, rest: str) -> None:
        talk = self._talk()
        path = Path(rest or f"conversation-{talk.session.id}.md").expanduser()
        write = as_json if path.suffix == ".json" else as_markdown
        try:
            path.write_text(write(talk.session, talk.messages), encoding="utf-8")
        except OSError as error:
            raise DiskError(f"cannot write {path}: {error.strerror}") from error
        self._screen.notify(f"saved as {path}")

    def _talk(self) -> Talk:
        if self._screen.talk is None:
            raise InvalidRequest("the model is still being opened")
        return self._screen.talk
