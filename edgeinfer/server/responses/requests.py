"""Bodies of responses: checked, and started on a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgeinfer.server.bodies import AnswerBody, InvalidParameter, Many, NotSupported, Tools, parameters_of
from edgeinfer.server.responses.items import Items, messages_of
from edgeinfer.server.responses.tools import Function, Tool
from edgeinfer.server.structure import ResponseFormat, naming
from edgeinfer.text.conversation import Conversation, NamedTool, thinking

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.streaming import Stream
    from edgeinfer.text.messages import Message


class FunctionChoice(BaseModel):
    """The function that has to be called."""

    model_config = ConfigDict(strict=True)

    type: Literal["function"]
    name: str


class Reasoning(BaseModel):
    """How much the model thinks before it answers."""

    effort: str | None = None
    summary: str | None = None  # there are none


class TextFormat(ResponseFormat):
    """What the text of the answer has to be, with all that the answer repeats."""

    model_config = ConfigDict(strict=True, extra="allow")


class TextSettings(BaseModel):
    """What the text of the answer looks like."""

    format: TextFormat = TextFormat(type="text")


class ResponseBody(AnswerBody):
    """POST /v1/responses, and /v1/responses/input_tokens.

    Besides OpenAI's fields those of `Sampling` are known by their names, as seed and min_p.
    """

    model_config = ConfigDict(strict=True, extra="allow")

    input: Items = Field(default_factory=list)
    instructions: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = None
    top_p: float | None = None
    tools: Tools[Tool] = Field(default_factory=list)
    tool_choice: Literal["auto", "none", "required"] | FunctionChoice = "auto"
    parallel_tool_calls: bool = True
    reasoning: Reasoning = Reasoning()
    text: TextSettings = TextSettings()
    include: Many[str] = Field(default_factory=list)
    previous_response_id: str | None = None
    background: NotSupported = None
    conversation: NotSupported = None
    prompt: NotSupported = None
    top_logprobs: NotSupported = None

    def start(self, model: Model) -> Stream:
        """The answer.

        Raises:
            InvalidRequest: a parameter is out of range, or it builds on what we do not have.
        """
        with naming("text.format"):
            grammar = self.text.format.grammar()
        return model.chat(
            self.asked(),
            max_tokens=self.max_output_tokens,
            grammar=grammar,
            **parameters_of(self),
        )

    def functions(self) -> list[Function]:
        """What can be called."""
        return [function for tool in self.tools for function in tool.functions()]

    def asked(self) -> Conversation:
        """What is to be answered. Of an empty input the answer is to a user who says nothing."""
        if self.previous_response_id is not None:
            raise InvalidParameter(
                "previous_response_id",
                "responses are not kept here",
                hint="send the whole conversation as input",
            )
        said: list[Message] = []
        if self.instructions:
            said.append({"role": "system", "content": self.instructions})
        said += messages_of(self.input)
        if not self.input:
            said.append({"role": "user", "content": ""})
        choice = self.tool_choice
        return Conversation(
            said,
            tools=[function.plain() for function in self.functions()],
            tool_choice=NamedTool(choice.name) if isinstance(choice, FunctionChoice) else choice,
            parallel_tool_calls=self.parallel_tool_calls,
            variables=thinking(self.reasoning.effort),
        )
