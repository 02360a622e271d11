"""A conversation to be answered: what was said, and what may be called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from edgeinfer.errors import InvalidRequest
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
    # {"type": "function", "function": {name, description, parameters}}
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    variables: Mapping[str, Any] = field(default_factory=dict)  # of the template, as enable_thinking

    def __post_init__(self) -> None:
        """Raises InvalidRequest: a tool has to be called that is not there."""
        choice = self.tool_choice
        if choice == "required" and not self.tools:
            problem = "tool_choice wants a tool to be called, and there is none"
            raise InvalidRequest(problem, hint="give tools", param="tool_choice")
        if isinstance(choice, NamedTool) and choice.name not in {_named(tool) for tool in self.tools}:
            names = ", ".join(str(_named(tool)) for tool in self.tools)
            problem = f"tool_choice wants {choice.name!r} to be called, which is none of the tools"
            raise InvalidRequest(
                problem, hint=f"there is {names}" if names else "give tools", param="tool_choice"
            )

    @property
    def n_system(self) -> int:
        """How many messages at its beginning tell the model what to be."""
        others = (i for i, m in enumerate(self.messages) if m.get("role") not in ("system", "developer"))
        return next(others, len(self.messages))

    def beginning_with(self, system: str, first: Sequence[tuple[str, str]]) -> Conversation:
        """The same behind other messages.

        Args:
            system: a system message, unless the conversation brings one; "": none.
            first: (role, content) of what comes behind the system message.
        """
        if not system and not first:
            return self
        n = self.n_system
        told = self.messages[:n] or ([{"role": "system", "content": system}] if system else [])
        shown = [{"role": role, "content": content} for role, content in first]
        return replace(self, messages=[*told, *shown, *self.messages[n:]])

    @property
    def forces_calls(self) -> bool:
        """A tool has to be called."""
        return self.tool_choice not in ("auto", "none")

    @property
    def callable_tools(self) -> list[Mapping[str, Any]]:
        """The functions that may be called, with the fields that templates want."""
        if self.tool_choice == "none":
            return []
        return [{"type": "function", "function": _function(tool)} for tool in self.tools]


def conversation_of(messages: Sequence[Message] | Conversation) -> Conversation:
    """Messages as a conversation without tools."""
    return messages if isinstance(messages, Conversation) else Conversation(messages)


def thinking(effort: bool | str | None) -> dict[str, Any]:
    """The variables of templates for thinking or not, or how hard: "none", "low", "medium", "high".

    None: as the template has it.
    """
    if effort is None:
        return {}
    thinks = effort not in (False, "none")
    variables: dict[str, Any] = {"enable_thinking": thinks, "thinking": thinks}
    if thinks and isinstance(effort, str):
        variables["reasoning_effort"] = _EFFORTS.get(effort, effort)
    return variables


_EFFORTS = {"minimal": "low", "xhigh": "high", "max": "high"}  # names of some clients


def _named(tool: Mapping[str, Any]) -> object:
    return tool.get("function", tool).get("name")


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {name: value for name, value in tool.get("function", tool).items() if name != "strict"}
    return {
        **function,
        "description": function.get("description") or "",
        "parameters": function.get("parameters") or {"type": "object", "properties": {}},
    }
