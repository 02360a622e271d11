"""Bodies of Anthropic's requests: checked, and started on a model.

What only Anthropic's service has (metadata, cache_control, service_tier) is ignored like all unknown fields:
whatever is computed once is found again without being marked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from edgeinfer.server.bodies import (
    AnswerBody,
    InvalidParameter,
    Many,
    Messages,
    NamedBody,
    Stops,
    Tools,
    parameters_of,
)
from edgeinfer.server.messages import Text, TextPart, as_parts, joined
from edgeinfer.server.structure import ResponseFormat, naming
from edgeinfer.text.conversation import Conversation, NamedTool, ToolChoice, thinking

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.streaming import Stream
    from edgeinfer.text.messages import Message


class ThinkingBlock(BaseModel):
    """What the model thought, given back; we sign nothing and check no signature."""

    model_config = ConfigDict(strict=True)

    type: Literal["thinking"]
    thinking: str


class RedactedThinkingBlock(BaseModel):
    """What another model thought, which nobody here can read."""

    type: Literal["redacted_thinking"]


class ToolUseBlock(BaseModel):
    """A call of a tool."""

    model_config = ConfigDict(strict=True)

    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]

    def call(self) -> dict[str, Any]:
        """As a conversation takes it."""
        function = {"name": self.name, "arguments": self.input}
        return {"id": self.id, "type": "function", "function": function}


class ToolResultBlock(BaseModel):
    """What a call of a tool gave."""

    model_config = ConfigDict(strict=True)

    type: Literal["tool_result"]
    tool_use_id: str
    content: Text = []
    is_error: bool = False

    def plain(self) -> Message:
        """As a conversation takes it."""
        text = joined(self.content)
        if self.is_error:
            text = f"Error: {text}"
        return {"role": "tool", "tool_call_id": self.tool_use_id, "content": text}


Block = Annotated[
    TextPart | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock,
    Field(discriminator="type"),
]


class ChatMessage(BaseModel):
    """One message."""

    model_config = ConfigDict(strict=True)

    role: Literal["user", "assistant", "system"]
    content: Annotated[Many[Block], BeforeValidator(as_parts)]

    def blocks(self, kind: type[Any]) -> list[Any]:
        """Those of one kind."""
        return [block for block in self.content if isinstance(block, kind)]

    def plain(self) -> Iterator[Message]:
        """As a conversation takes it; results of tools are messages of their own."""
        results, calls = self.blocks(ToolResultBlock), self.blocks(ToolUseBlock)
        for result in results:
            yield result.plain()
        said: dict[str, Any] = {}
        if text := joined(self.blocks(TextPart)):
            said["content"] = text
        if thoughts := self.blocks(ThinkingBlock):
            said["reasoning_content"] = "".join(block.thinking for block in thoughts)
        if calls:
            said["tool_calls"] = [call.call() for call in calls]
        if said or not results:
            yield {"role": self.role, "content": "", **said}


class Tool(BaseModel):
    """What the model may call. Tools that Anthropic's service runs have other types, and are refused."""

    model_config = ConfigDict(strict=True)

    type: Literal["custom"] | None = None
    name: str
    description: str | None = None
    input_schema: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """As a conversation takes it."""
        function = {"name": self.name, "description": self.description, "parameters": self.input_schema}
        return {"type": "function", "function": function}


class Choice(BaseModel):
    """Whether tools are called, and which."""

    model_config = ConfigDict(strict=True)

    type: Literal["auto", "any", "tool", "none"] = "auto"
    name: str | None = None
    disable_parallel_tool_use: bool = False

    def plain(self) -> ToolChoice:
        """Raises InvalidParameter: the tool has no name."""
        if self.type != "tool":
            return "required" if self.type == "any" else self.type
        if self.name is None:
            raise InvalidParameter("tool_choice.name", "which tool?")
        return NamedTool(self.name)


class Thinking(BaseModel):
    """Whether the model thinks before it answers."""

    type: Literal["enabled", "adaptive", "between_tools", "disabled"]


class OutputConfig(BaseModel):
    """How the answer shall be."""

    effort: str | None = None
    format: ResponseFormat = ResponseFormat(type="text")


class PromptBody(NamedBody):
    """POST /v1/messages/count_tokens, and what POST /v1/messages begins with.

    Besides Anthropic's fields those of `Sampling` are known by their names, as seed and min_p.
    """

    model_config = ConfigDict(strict=True, extra="allow")

    system: Text = Field(default_factory=list)
    messages: Messages[ChatMessage] = Field(min_length=1)
    tools: Tools[Tool] | None = None
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig = OutputConfig()

    def conversation(self) -> Conversation:
        """Raises InvalidParameter: it cannot be answered."""
        if self.messages[-1].role == "assistant":
            raise InvalidParameter("messages", "the last one is the assistant's; answers are not continued")
        said: list[Message] = [{"role": "system", "content": joined(self.system)}] if self.system else []
        for message in self.messages:
            said += message.plain()
        choice = self.tool_choice or Choice()
        return Conversation(
            said,
            tools=[tool.plain() for tool in self.tools or ()],
            tool_choice=choice.plain(),
            parallel_tool_calls=not choice.disable_parallel_tool_use,
            variables=self._variables(),
        )

    def _variables(self) -> dict[str, Any]:
        if self.thinking is None:
            return {}
        return thinking(self.thinking.type != "disabled" and (self.output_config.effort or True))


class MessagesBody(PromptBody, AnswerBody):
    """POST /v1/messages."""

    max_tokens: int = Field(ge=1)
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: Stops | None = None

    def start(self, model: Model) -> Stream:
        """The answer. Raises InvalidRequest: a parameter is out of range, or the format makes no sense."""
        with naming("output_config.format"):
            grammar = self.output_config.format.grammar()
        return model.chat(
            self.conversation(),
            grammar=grammar,
            max_tokens=self.max_tokens,
            stop=self.stop_sequences,
            **parameters_of(self),
        )
