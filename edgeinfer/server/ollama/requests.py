"""Bodies of Ollama's requests: checked, and started on a model.

As in OpenAI's dialect unknown fields are ignored, and known ones that we cannot honour are refused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from edgeinfer.engine.request import MOST_TOP
from edgeinfer.options import NO_LIMIT
from edgeinfer.server.bodies import (
    AnswerBody,
    Messages,
    NamedBody,
    NotSupported,
    RequestBody,
    Stops,
    Tools,
    parameters_of,
)
from edgeinfer.server.messages import ChatMessage, Tool
from edgeinfer.server.structure import json_grammar, naming
from edgeinfer.text.conversation import Conversation, thinking
from edgeinfer.text.infill import Infill

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.streaming import Stream
    from edgeinfer.text.grammar import Grammar
    from edgeinfer.text.messages import Message


class Options(RequestBody):
    """The `options` of a request; `Sampling` checks the ranges of its own."""

    num_predict: int | None = Field(default=None, ge=-2)  # less than 1: no limit
    num_ctx: int | None = Field(default=None, ge=1)
    stop: Stops | None = None
    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    @property
    def most_tokens(self) -> int | None:
        """To generate; None: as the model has it."""
        return NO_LIMIT if self.num_predict is not None and self.num_predict < 1 else self.num_predict


class ShowBody(NamedBody):
    """POST /api/show."""

    verbose: bool = False


class Body(AnswerBody, ABC):
    """What chat and generate share."""

    stream: bool = True
    options: Options | None = None
    format: Literal["", "json"] | dict[str, Any] | None = None  # "json": any object; or a schema
    think: bool | Literal["low", "medium", "high"] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP)

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether it only asks for the model to be loaded, or with a `keep_alive` of 0 to be unloaded."""

    def start(self, model: Model) -> Stream:
        """The answer.

        Raises:
            InvalidRequest: an option is out of range, the prompt is much too long, or the schema is wrong.
        """
        options = self.options or Options()
        [stream] = model.alternatives(
            self.prompt(),
            1,
            max_tokens=options.most_tokens,
            most_context=options.num_ctx,
            stop=options.stop,
            top_logprobs=(self.top_logprobs or 0) if self.logprobs else 0,
            grammar=self._grammar(),
            **parameters_of(options),
        )
        return stream

    def _grammar(self) -> Grammar | None:
        if not self.format:
            return None
        with naming("format"):
            return json_grammar(None if self.format == "json" else self.format)

    @abstractmethod
    def prompt(self) -> str | Infill | Conversation:
        """What to go on from."""

    def _conversation(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Conversation:
        return Conversation(messages, [tool.plain() for tool in tools], variables=thinking(self.think))


class OllamaMessage(ChatMessage):
    """One message of a chat."""

    images: NotSupported = None


class ChatBody(Body):
    """POST /api/chat."""

    messages: Messages[OllamaMessage] = Field(default_factory=list)
    tools: Tools[Tool] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said."""
        return not self.messages

    def prompt(self) -> Conversation:
        """The conversation."""
        return self._conversation([message.plain() for message in self.messages], self.tools or ())


class GenerateBody(Body):
    """POST /api/generate."""

    prompt_: str = Field(default="", validation_alias="prompt")
    system: str = ""
    raw: bool = False
    suffix: str | None = None
    images: NotSupported = None
    template: NotSupported = None
    context: NotSupported = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no text to go on from."""
        return not (self.prompt_ or self.suffix)

    def prompt(self) -> str | Infill | Conversation:
        """The text itself if it is raw, what is around a middle, else the user's words in a chat."""
        if self.suffix:
            return Infill(self.prompt_, self.suffix)
        if self.raw:
            return self.prompt_
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return self._conversation([*system, {"role": "user", "content": self.prompt_}])
