"""The items that a request brings: what was said, thought and called before, as messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from edgeinfer.server.bodies import Many, Messages
from edgeinfer.server.messages import as_parts, joined
from edgeinfer.server.responses.tools import known_name

if TYPE_CHECKING:
    from edgeinfer.text.messages import Message


class TextPart(BaseModel):
    """A piece of what was said or thought."""

    model_config = ConfigDict(strict=True)

    type: Literal["input_text", "output_text", "text", "summary_text", "reasoning_text"]
    text: str


Text = Annotated[Many[TextPart], BeforeValidator(as_parts)]


class MessageItem(BaseModel):
    """A message."""

    model_config = ConfigDict(strict=True)

    type: Literal["message"]
    role: Literal["user", "assistant", "system", "developer"]
    content: Text

    def plain(self) -> Message:
        """As a conversation takes it."""
        return {"role": self.role, "content": joined(self.content)}


class ReasoningItem(BaseModel):
    """What the model thought, given back. `encrypted_content` is the same, see `answers`."""

    model_config = ConfigDict(strict=True)

    type: Literal["reasoning"]
    summary: Text = []
    content: Text = []
    encrypted_content: str | None = None

    def plain(self) -> Message:
        """As a conversation takes it: a part of the assistant's message that follows."""
        text = joined(self.content) or self.encrypted_content or joined(self.summary)
        return {"role": "assistant", "reasoning_content": text}


class CallItem(BaseModel):
    """A call of a function."""

    model_config = ConfigDict(strict=True)

    type: Literal["function_call"]
    call_id: str
    name: str
    namespace: str | None = None
    arguments: str

    def plain(self) -> Message:
        """As a conversation takes it: a part of the assistant's message."""
        function = {"name": known_name(self.name, self.namespace), "arguments": self.arguments}
        call = {"id": self.call_id, "type": "function", "function": function}
        return {"role": "assistant", "tool_calls": [call]}


class ResultItem(BaseModel):
    """What a function gave."""

    model_config = ConfigDict(strict=True)

    type: Literal["function_call_output"]
    call_id: str
    output: Text

    def plain(self) -> Message:
        """As a conversation takes it."""
        return {"role": "tool", "tool_call_id": self.call_id, "content": joined(self.output)}


def _as_item(item: Any) -> Any:
    return {"type": "message", **item} if isinstance(item, dict) and "role" in item else item


Item = Annotated[
    Annotated[MessageItem | ReasoningItem | CallItem | ResultItem, Field(discriminator="type")],
    BeforeValidator(_as_item),
]


def _as_items(given: Any) -> Any:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


Items = Annotated[Messages[Item], BeforeValidator(_as_items)]


def messages_of(items: Iterable[Item]) -> Iterator[Message]:
    """As a conversation takes them: all that the assistant does in one turn is one message."""
    for role, group in groupby((item.plain() for item in items), itemgetter("role")):
        if role == "assistant":
            yield _turn(list(group))
        else:
            yield from group


def _turn(pieces: list[Message]) -> Message:
    turn: dict[str, Any] = {"role": "assistant"}
    for name in ("content", "reasoning_content"):
        if text := "\n\n".join(piece[name] for piece in pieces if piece.get(name)):
            turn[name] = text
    if calls := [call for piece in pieces for call in piece.get("tool_calls", ())]:
        turn["tool_calls"] = calls
    return {"content": "", **turn}
