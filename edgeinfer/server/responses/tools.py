"""Tools of responses: which of them a model here can call, and by what name.

Agents declare tools that OpenAI's service runs (web_search) or that only OpenAI's models were trained for
(custom, local_shell) beside functions, whatever the model. These are left out, so that the functions can be
used (ggml-org/llama.cpp#20156); only a choice of such a tool is refused.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from edgeinfer.server.bodies import Tools


class Declared(BaseModel):
    """A function, or something that is left out."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.type in ("function", "namespace") and not self.name:
            raise ValueError(f"a {self.type} has a name")
        return self


class Tool(Declared):
    """Also a namespace: Codex has all functions of an MCP server in one."""

    tools: Tools[Declared] = []

    def functions(self) -> list[Function]:
        """What can be called."""
        if self.type == "namespace":
            return [Function(tool, self.name) for tool in self.tools if tool.type == "function"]
        return [Function(self)] if self.type == "function" else []


class Function:
    """What a model can call.

    Attributes:
        name: as the model knows it.
        named: its fields in a call, as the client knows it.
    """

    def __init__(self, tool: Declared, namespace: str | None = None) -> None:
        assert tool.name is not None, "functions have names"
        self.name = known_name(tool.name, namespace)
        self.named = {"name": tool.name}
        if namespace is not None:
            self.named["namespace"] = namespace
        self._tool = tool

    def plain(self) -> dict[str, Any]:
        """As a conversation takes it."""
        tool = self._tool
        function = {"name": self.name, "description": tool.description, "parameters": tool.parameters}
        return {"type": "function", "function": function}


def known_name(name: str, namespace: str | None) -> str:
    """The name by which the model knows a function: one, which can be written in every syntax of calls."""
    return name if namespace is None else f"{namespace.removesuffix('__')}__{name}"
