"""A conversation to be answered: what was said, and what may be called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeinfer.text.messages import Message


@dataclass(frozen=True)
class NamedTool:
    """The one tool that has to be called."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool


@dataclass(frozen=True)
class Conversation:
    """Messages, with all else that a chat template is given."""

    messages: Sequence[Message]
    tools: Sequence[
        Mapping[str, Any]
    ] = ()  # {"type": "function", "function": {name, description, parameters}}
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    variables: Mapping[str, Any] = field(default_factory=dict)  # of the template, as enable_thinking
