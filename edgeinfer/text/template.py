"""Chat templates: the messages of a conversation as the one text that a model was trained to go on from."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from edgeinfer import _native
from edgeinfer.errors import InvalidRequest, TemplateError
from edgeinfer.text.messages import Message, simpler_forms
from edgeinfer.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from jinja2 import Template

    from edgeinfer.text.sandbox import Limits, MeteredEnvironment

T = TypeVar("T")

_KEY = "tokenizer.chat_template"
_GIVEN = ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token")
_FUNCTIONS = ("raise_exception", "strftime_now", "range", "dict", "namespace")
_RESERVED = frozenset((*_GIVEN, *_FUNCTIONS, "now"))


def refuse_reserved(variables: Mapping[str, Any]) -> None:
    """Raises InvalidRequest: one has a fixed meaning in templates, or for `ChatTemplate.render`."""
    if taken := _RESERVED & variables.keys():
        raise InvalidRequest(f"{', '.join(sorted(taken))} cannot be given as template variables")


class ChatTemplate:
    """One Jinja template, compiled when it is first used. May be used from many threads, one at a time.

    A template comes with a model file, from strangers: it renders within the limits of `sandbox.Limits`
    (a quarter of a second, 48 MiB), and it cannot reach files, network or Python's inside.
    """

    def __init__(
        self, source: str, *, bos_token: str = "", eos_token: str = "", limits: Limits | None = None
    ) -> None:
        """`bos_token`, `eos_token`: the texts that these variables have in the template."""
        self.source = source
        self._variables = {"bos_token": bos_token, "eos_token": eos_token}
        self._limits = limits
        self._lock = threading.Lock()
        self._compiled: tuple[MeteredEnvironment, Template] | None = None

    @classmethod
    def from_gguf(
        cls,
        file: _native.GgufFile,
        tokenizer: Tokenizer,
        name: str | None = None,
        *,
        source: str | None = None,
    ) -> ChatTemplate:
        """The template of a model file: the one named `name` ("tool_use"), or the default one.

        Args:
            source: what the model has instead.

        Raises:
            TemplateError: the file has no such template.
        """
        key = _KEY if name is None else f"{_KEY}.{name}"
        found = source if source is not None or key not in file else file.get(key)
        if not isinstance(found, str):
            hint = "edgeinfer run --raw continues text without one"
            raise TemplateError(f"the model file has no chat template {name or ''}".rstrip(), hint=hint)

        def text(token: int | None) -> str:
            return "" if token is None else tokenizer.token_text(token)

        return cls(found, bos_token=text(tokenizer.special.bos), eos_token=text(tokenizer.special.eos))

    def check(self) -> None:
        """Compiles the template.

        Raises:
            TemplateError: it is broken.
        """
        with self._lock:
            self._guarded(self._compile)

    def render(
        self,
        messages: Sequence[Message],
        /,
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        now: datetime.datetime | None = None,
        **variables: Any,
    ) -> str:
        """The text of a conversation; encode it with `parse_special=True` and `add_special=False`.

        Args:
            messages: dictionaries with "role" and "content", of plain JSON values.
            add_generation_prompt: end with the beginning of the assistant's answer.
            tools: JSON schemas of functions that the model may call.
            documents: what the answer shall be based on, for templates that know documents.
            now: what `strftime_now` takes the time from.
            variables: whatever else the template knows, as `enable_thinking=False`.

        A template that refuses the messages ("system role not supported") is asked again with simpler ones:
        ids of calls shortened, the system message put before the first user message, arguments as text, then
        tool calls and results as plain text.

        Raises:
            TemplateError: the template is broken, refuses the messages, or costs more than its limits.
            InvalidRequest: a variable that has a fixed meaning.
        """
        refuse_reserved(variables)
        if not all(isinstance(message, Mapping) for message in messages):
            raise InvalidRequest("a message is a dictionary with a role and a content")
        values = {
            **self._variables,
            **variables,
            "tools": None if tools is None else list(tools),
            "documents": None if documents is None else list(documents),
            "add_generation_prompt": add_generation_prompt,
            "raise_exception": _raise_exception,
            "strftime_now": _Clock(now),
        }
        with self._lock:
            refusal: TemplateError | None = None
            for attempt in simpler_forms(messages):
                try:
                    return self._guarded(partial(self._render, {**values, "messages": attempt}))
                except _Refused as error:
                    refusal = refusal or error
        assert refusal is not None, "there is always a first form"
        raise refusal

    def _guarded(self, work: Callable[[], T]) -> T:
        """`work`, with everything it raises as a TemplateError."""
        try:
            return work()
        except TemplateError:
            raise
        except Exception as error:  # a template can raise anything, and all of it is its own fault
            raise _template_error(error) from error

    def _compile(self) -> tuple[MeteredEnvironment, Template]:
        if self._compiled is None:
            from edgeinfer.text.sandbox import Limits, MeteredEnvironment

            environment = MeteredEnvironment(self._limits or Limits())
            self._compiled = (environment, environment.compiled(self.source))
        return self._compiled

    def _render(self, values: dict[str, Any]) -> str:
        environment, template = self._compile()
        meter = environment.begin()
        pieces: list[str] = []
        n_chars = 0
        for piece in template.generate(values):
            n_chars += len(piece)
            meter.expect(n_chars)
            pieces.append(piece)
        return "".join(pieces)


class _Refused(TemplateError):
    """The template called `raise_exception`, or took a field for what it is not."""


class _Clock:
    """The function `strftime_now`: the time now, or a fixed one for tests."""

    def __init__(self, now: datetime.datetime | None) -> None:
        self._now = now

    def __call__(self, form: str) -> str:
        """The time as `form` says (strftime)."""
        if len(form) > 256 or any(a == "%" and b.isdigit() for a, b in pairwise(form)):
            raise TemplateError("the chat template asks for a time in a form that is not offered")
        return (self._now or datetime.datetime.now()).strftime(form)


def _raise_exception(message: object) -> NoReturn:
    raise _Refused(f"the chat template refuses these messages: {str(message)[:200]}")


def _template_error(error: Exception) -> TemplateError:
    if isinstance(error, RecursionError):
        return TemplateError("the chat template nests or calls itself too deeply")
    line = getattr(error, "lineno", None)
    where = f" in line {line}" if line is not None else ""
    what = " ".join(str(error).split())[:200] or type(error).__name__
    kind = _Refused if isinstance(error, TypeError) else TemplateError  # text wanted, or no text
    return kind(f"the chat template fails{where}: {what}", hint="the template and the messages do not match")
