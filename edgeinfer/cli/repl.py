"""The line-by-line conversation of `run` and `chat`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import edgeinfer
from edgeinfer.cli import output
from edgeinfer.cli.answer import chat, show, tell_cost
from edgeinfer.errors import ContextLengthExceeded, EdgeInferError, InvalidRequest
from edgeinfer.parameters import NAMES, changed, shown
from edgeinfer.text.safe import safe_text

if TYPE_CHECKING:
    from edgeinfer.chat_model import ChatModel
    from edgeinfer.client import Model
    from edgeinfer.streaming import Token

_HELP = '''\
Type a message and Enter. """ begins and ends a message of several lines.
  /system TEXT     what the model should know and be; alone: show it
  /set NAME VALUE  change a sampling parameter, as /set temperature 0.2; alone: show all
  /clear           forget the conversation
  /help            this text
  /bye             end, as Ctrl-D
Ctrl-C stops an answer.'''


def talk_with(
    model: ChatModel,
    generation: dict[str, Any],
    *,
    system: str | None,
    think: bool | None,
    hide_thinking: bool,
    verbose: bool,
) -> None:
    """Talk until the person leaves."""
    conversation = Conversation(
        model, generation, system=system, think=think, hide_thinking=hide_thinking, verbose=verbose
    )
    output.talk(f"{model.name}, {model.description}. /help tells what you can do, /bye ends.")
    _with_line_editing()
    conversation.run(_read_line)


def loaded_to_talk(name: str | None, loading: dict[str, Any]) -> Model:
    """A model in this process. Raises what `edgeinfer.load` raises, and TemplateError if it cannot chat."""
    model = edgeinfer.load(name, **loading)
    try:
        _ = model.template
    except EdgeInferError:
        model.close()
        raise
    return model


class Conversation:
    """What was said, and the parameters of the next answer."""

    def __init__(
        self,
        model: ChatModel,
        generation: dict[str, Any],
        *,
        system: str | None,
        think: bool | None,
        hide_thinking: bool,
        verbose: bool,
    ) -> None:
        """`generation` are keyword arguments of `Model.chat`."""
        self._model = model
        self._generation = dict(generation)
        self._system = system
        self._think = think
        self._shows_thoughts = not hide_thinking
        self._verbose = verbose
        self.messages: list[dict[str, str]] = []

    def run(self, read_line: Callable[[str], str]) -> None:
        """Read and answer until /bye or the end of input; KeyboardInterrupt at two empty prompts in a row."""
        interrupted = False
        while True:
            try:
                message = _read_message(read_line)
                interrupted = False
                if message.startswith("/") and "\n" not in message:
                    if not self._command(message):
                        return
                elif message.strip():
                    self._answer(message)
            except EOFError:
                output.talk()
                return
            except KeyboardInterrupt:
                output.talk()
                if interrupted:
                    raise
                output.talk("Ctrl-C again, Ctrl-D or /bye ends")
                interrupted = True
            except EdgeInferError as error:
                output.error(error.message, error.hint)

    def _answer(self, message: str) -> None:
        self.messages.append({"role": "user", "content": message})
        head = [] if self._system is None else [{"role": "system", "content": self._system}]
        said: list[Token] = []
        try:
            asked = chat([*head, *self.messages], think=self._think)
            stream = self._model.chat(asked, **self._generation)
            with contextlib.suppress(KeyboardInterrupt), contextlib.closing(stream):
                show(stream, said, thoughts=self._shows_thoughts)
        except ContextLengthExceeded as full:
            self.messages.pop()
            full.hint = "/clear forgets the conversation"
            raise
        except EdgeInferError:
            self.messages.pop()
            raise
        output.data()
        self.messages.append({"role": "assistant", "content": "".join(token.text for token in said)})
        tell_cost(stream.usage, verbose=self._verbose)

    def _command(self, line: str) -> bool:
        """Obey a command; False: leave."""
        name, _, rest = line[1:].strip().partition(" ")
        rest = rest.strip()
        if name in ("bye", "exit", "quit"):
            return False
        if name == "clear":
            self.messages.clear()
            output.talk("forgotten")
        elif name in ("help", "?"):
            output.talk(_HELP)
        elif name == "system":
            self._show_or_set_system(rest)
        elif name == "set":
            self._show_or_set(rest)
        else:
            raise InvalidRequest(f"there is no command /{name}", hint="/help lists them")
        return True

    def _show_or_set_system(self, text: str) -> None:
        if text:
            self._system = text
            self.messages.clear()
            output.talk("set; the conversation begins anew")
        else:
            output.talk(safe_text(self._system or self._model.defaults.system or "no system message"))

    def _show_or_set(self, text: str) -> None:
        name, _, value = text.partition(" ")
        if not name:
            for known in NAMES:
                output.talk(f"  {known} {shown(known, self._generation, self._model.defaults)}")
            return
        self._generation = changed(self._generation, name, value.strip())


def _read_message(read_line: Callable[[str], str]) -> str:
    '''One line, or all lines between """ and """.'''
    line = read_line(">>> ")
    if not line.lstrip().startswith('"""'):
        return line
    lines = [line.lstrip()[3:]]
    while not lines[-1].rstrip().endswith('"""'):
        lines.append(read_line("... "))
    lines[-1] = lines[-1].rstrip()[:-3]
    return "\n".join(lines).strip("\n")


def _read_line(prompt: str) -> str:
    """A line from the terminal with editing, or from a pipe without a prompt."""
    if output.is_terminal(sys.stdin):
        return input(prompt)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _with_line_editing() -> None:
    """Arrow keys and history for `input`, where the system has readline."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401
