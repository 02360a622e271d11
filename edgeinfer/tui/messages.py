"""What widgets tell the screens above them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from textual.message import Message as TextualMessage

from edgeinfer.sessions.store import Attachment, Message


@dataclass
class Submitted(TextualMessage):
    """The person has written something and pressed Enter."""

    text: str
    attachments: Sequence[Attachment]


@dataclass
class Asked(TextualMessage):
    """Something shall happen to a message of the transcript."""

    what: Literal["edit", "regenerate", "copy", "copy code", "former", "next"]
    message: Message


class Scrolled(TextualMessage):
    """The transcript shows another part of itself, or has grown."""


class Drawn(TextualMessage):
    """More of a growing text is shown."""
