"""What an answer consists of, piece by piece as it is generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Content:
    """Text for the reader."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """Text that the model thinks before it answers."""

    text: str


@dataclass(frozen=True)
class CallBegun:
    """The model calls a tool; calls of an answer are numbered from 0."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class CallArguments:
    """More of the JSON text of the arguments of a call."""

    index: int
    text: str


Part = Content | Reasoning | CallBegun | CallArguments


@dataclass
class ToolCall:
    """A whole call; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str = ""


def text_of(parts: Sequence[Part]) -> str:
    """The content among the parts."""
    return "".join(part.text for part in parts if isinstance(part, Content))


def joined(parts: list[Part]) -> list[ToolCall]:
    """The calls among the parts of an answer, in order."""
    calls: list[ToolCall] = []
    for part in parts:
        if isinstance(part, CallBegun):
            calls.append(ToolCall(part.id, part.name))
        elif isinstance(part, CallArguments):
            calls[part.index].arguments += part.text
    return calls
