"""What a chat needs of a model, whether it runs in this process or on a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Unpack

from edgeinfer.engine.stats import Stats
from edgeinfer.machine import Memory

if TYPE_CHECKING:
    from edgeinfer.defaults import Defaults
    from edgeinfer.engine.events import Usage
    from edgeinfer.options import Options
    from edgeinfer.streaming import Events, Finish
    from edgeinfer.text.conversation import Conversation
    from edgeinfer.text.messages import Message


@dataclass(frozen=True)
class Report:
    """What a model's process is doing."""

    description: str  # how the model is run, for people
    stats: Stats
    resident_bytes: int  # of main memory, all of the process
    memory: Memory  # of its machine


class ChatStream(Protocol):
    """An answer as it comes: `streaming.Stream`, or that of a server."""

    @property
    def finish_reason(self) -> Finish | None:
        """Why it ended, when it has."""

    @property
    def usage(self) -> Usage:
        """What it has cost until now."""

    def events(self) -> Events:
        """Its tokens and what comes before them, once. Raises EdgeInferError when it cannot go on."""

    def cancel(self) -> None:
        """Stop computing; the events then end. Safe from any thread."""

    def close(self) -> None:
        """The same, by who reads it."""


class ChatModel(Protocol):
    """A model that is open: `client.Model`, or one of a server."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def defaults(self) -> Defaults:
        """What holds where a caller leaves something open."""

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together."""

    @property
    def description(self) -> str:
        """How it is run, for people."""

    def chat(self, messages: Sequence[Message] | Conversation, /, **options: Unpack[Options]) -> ChatStream:
        """Answer the last of these messages. Raises EdgeInferError, here or from the stream."""

    async def report(self) -> Report:
        """What its process is doing; may take as long as a step. Raises EdgeInferError when it is closed."""

    def close(self) -> None:
        """Nothing more is asked of it."""
