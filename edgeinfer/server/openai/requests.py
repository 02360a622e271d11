"""Bodies of OpenAI's requests: checked, and started on a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, cast

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, Strict

from edgeinfer.engine.request import MOST_TOP
from edgeinfer.options import NO_LIMIT
from edgeinfer.server.bodies import (
    MOST_TOKENS,
    AnswerBody,
    InvalidParameter,
    Many,
    Messages,
    NotSupported,
    Pairs,
    Stops,
    Tools,
    check_number_of_answers,
    parameters_of,
)
from edgeinfer.server.messages import ChatMessage, Tool
from edgeinfer.server.structure import ConstrainedBody, ResponseFormat
from edgeinfer.text.conversation import Conversation, NamedTool, ToolChoice, thinking
from edgeinfer.text.infill import Infill

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.engine.request import Priority
    from edgeinfer.streaming import Stream
    from edgeinfer.text.grammar import Grammar


class StreamOptions(BaseModel):
    """What a stream has besides its tokens."""

    include_usage: bool = False


class ChosenFunction(BaseModel):
    """The function that has to be called."""

    name: str


class NamedChoice(BaseModel):
    """`tool_choice`, when it is one function."""

    type: Literal["function"]
    function: ChosenFunction


class Body(AnswerBody, ConstrainedBody, ABC):
    """What chat completions and completions share.

    Besides OpenAI's fields those of `Sampling` are known by their names, as top_k and min_p; it checks their
    ranges. `model` and `keep_alive` (LM Studio: `ttl`) are looked at by whoever has several.
    """

    model_config = ConfigDict(strict=True, extra="allow")
    as_message: ClassVar[bool] = True  # the answer is a message, else a text
    usual_tokens: ClassVar[int | None] = None  # most of an answer, where neither body nor model says it

    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, validation_alias=MOST_TOKENS)  # less than 0: no limit
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: Pairs[Annotated[tuple[str, float], Strict(False)]] | None = None  # JSON has lists only
    seed: int | None = None
    stop: Stops | None = None
    n: int = Field(default=1, ge=1, le=128)
    context_shift: bool = False  # ours: with a full context forget the older half, and go on
    timeout: float | None = None  # ours: seconds after which it ends, with the stop_reason "deadline"
    return_progress: bool = False  # as in llama.cpp, and the next: how far the prompt is read
    timings_per_token: bool = False
    response_format: ResponseFormat | None = None

    def start(
        self, model: Model, *, seed: int | None = None, priority: Priority = "interactive"
    ) -> list[Stream]:
        """One stream for each of the n choices of each prompt, in order.

        Args:
            seed: for a body without one; None: a random one.

        Raises:
            InvalidRequest: a parameter is out of range, the prompt is empty, or the grammar makes no sense.
        """
        biases = {} if self.logit_bias is None else {"logit_bias": dict(map(_bias, self.logit_bias))}
        sampling, grammar = parameters_of(self, seed=seed, **biases), self.answer_grammar()
        prompts = self.prompts()
        check_number_of_answers(len(prompts) * self.n)
        streams = (
            model.alternatives(
                prompt,
                self.n,
                max_tokens=self._most_tokens(model),
                stop=self.stop,
                timeout=self.timeout,
                context_shift=self.context_shift,
                priority=priority,
                top_logprobs=self.n_top,
                score_prompt=self.scores_prompt,
                grammar=grammar,
                **sampling,
            )
            for prompt in prompts
        )
        return [*chain.from_iterable(streams)]

    def _grammars(self) -> dict[str, Callable[[Any], Grammar | None]]:
        return {**super()._grammars(), "response_format": ResponseFormat.grammar}

    def _most_tokens(self, model: Model) -> int | None:
        if self.max_tokens is None:
            return None if "max_tokens" in dict(model.defaults.options) else self.usual_tokens
        return NO_LIMIT if self.max_tokens < 0 else self.max_tokens

    @property
    def with_logprobs(self) -> bool:
        """Whether the log-probabilities of tokens are asked for."""
        return False

    @property
    def n_top(self) -> int:
        """How many of the likeliest tokens are asked for with each."""
        return 0

    @property
    def scores_prompt(self) -> bool:
        """Whether the prompt's tokens are asked for too."""
        return False

    @abstractmethod
    def prompts(self) -> Sequence[str | list[int] | Infill | Conversation]:
        """What to go on from: texts, tokens, what is around a middle, or a conversation."""


class ChatBody(Body):
    """POST /v1/chat/completions."""

    messages: Messages[ChatMessage] = Field(min_length=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP)
    tools: Tools[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None  # variables of the template, as vLLM has them
    functions: NotSupported = None
    modalities: NotSupported = None

    @property
    def with_logprobs(self) -> bool:
        """Whether the log-probabilities of tokens are asked for."""
        return bool(self.logprobs)

    @property
    def n_top(self) -> int:
        """How many of the likeliest tokens are asked for with each."""
        if self.top_logprobs and not self.with_logprobs:
            raise InvalidParameter("top_logprobs", "needs logprobs to be true")
        return self.top_logprobs or 0

    def prompts(self) -> Sequence[Conversation]:
        """The conversation."""
        asked = Conversation(
            [message.plain() for message in self.messages],
            tools=[tool.plain() for tool in self.tools or ()],
            tool_choice=self._tool_choice,
            parallel_tool_calls=self.parallel_tool_calls is not False,
            variables={**thinking(self.reasoning_effort), **(self.chat_template_kwargs or {})},
        )
        return [asked]

    @property
    def _tool_choice(self) -> ToolChoice:
        choice = self.tool_choice
        return NamedTool(choice.function.name) if isinstance(choice, NamedChoice) else choice or "auto"


class CompletionBody(Body):
    """POST /v1/completions."""

    as_message: ClassVar[bool] = False
    usual_tokens: ClassVar[int | None] = 16

    prompt: str | Many[str] | Many[int] | Many[Many[int]]
    logprobs: int | None = Field(default=None, ge=0, le=5)  # 0: of the chosen tokens only
    best_of: Literal[1] | None = None
    echo: bool | None = None  # the prompt in front of the answer; with max_tokens 0 only its scores
    suffix: str | None = None  # what follows the text that is wanted

    @property
    def with_logprobs(self) -> bool:
        """Whether the log-probabilities of tokens are asked for."""
        return self.logprobs is not None

    @property
    def n_top(self) -> int:
        """How many of the likeliest tokens are asked for with each."""
        return self.logprobs or 0

    @property
    def scores_prompt(self) -> bool:
        """Whether the prompt's tokens are asked for too."""
        return bool(self.echo) and (self.with_logprobs or self.max_tokens == 0)

    def prompts(self) -> Sequence[str | list[int] | Infill]:
        """One or several."""
        prompt = self.prompt
        one = isinstance(prompt, str) or not prompt or isinstance(prompt[0], int)
        prompts = cast(list[str | list[int]], [prompt] if one else prompt)
        return [self._before_suffix(text, self.suffix) for text in prompts] if self.suffix else prompts

    def _before_suffix(self, text: str | list[int], suffix: str) -> Infill:
        if not isinstance(text, str):
            raise InvalidParameter("suffix", "needs a prompt that is a text")
        if self.echo:
            raise InvalidParameter("echo", "does not go with suffix")
        return Infill(text, suffix)


class FimBody(Body):
    """POST /v1/fim/completions, as Mistral has it: what comes between two pieces of code."""

    prompt: str
    suffix: str = ""
    seed: int | None = Field(default=None, validation_alias=AliasChoices("random_seed", "seed"))
    min_tokens: NotSupported = None

    def prompts(self) -> Sequence[str | Infill]:
        """The one."""
        return [Infill(self.prompt, self.suffix) if self.suffix else self.prompt]


def _bias(item: tuple[str, float]) -> tuple[int, float]:
    token, bias = item
    try:
        return int(token), bias
    except ValueError:
        raise InvalidParameter("logit_bias", f"{token[:40]!r} is not a token id") from None
