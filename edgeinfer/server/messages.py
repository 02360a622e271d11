"""Messages and tools, in the spelling that OpenAI's dialects, Ollama's and chat templates share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from edgeinfer.server.bodies import Many


class TextPart(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


def as_parts(content: Any) -> Any:
    """Content in parts, however it came: a string, or nothing."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [] if content is None else content


class _HasText(Protocol):
    text: str


def joined(parts: Sequence[_HasText]) -> str:
    """The text of content."""
    return "\n".join(part.text for part in parts)


Text = Annotated[Many[TextPart], BeforeValidator(as_parts)]


class CalledFunction(BaseModel):
    """A function that was called; its arguments as JSON text or as an object."""

    model_config = ConfigDict(strict=True)

    name: str
    arguments: str | dict[str, Any] | None = None


class CalledTool(BaseModel):
    """A call in a message of the assistant."""

    model_config = ConfigDict(strict=True)

    id: str | None = None
    function: CalledFunction


class ChatMessage(BaseModel):
    """One message; what else is in it goes to the template."""

    model_config = ConfigDict(strict=True, extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text = []
    tool_calls: Many[CalledTool] | None = None
    tool_call_id: str | None = None

    def plain(self) -> dict[str, Any]:
        """As a conversation takes it."""
        return {**self.model_dump(exclude_none=True), "content": joined(self.content)}


class Function(BaseModel):
    """A function that may be called."""

    model_config = ConfigDict(strict=True, extra="allow")

    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None  # a JSON schema


class Tool(BaseModel):
    """Something that the model may use: a function."""

    model_config = ConfigDict(strict=True)

    type: Literal["function"] = "function"
    function: Function

    def plain(self) -> dict[str, Any]:
        """As a conversation takes it."""
        return self.model_dump(exclude_none=True)
