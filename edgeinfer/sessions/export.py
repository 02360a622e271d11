"""A session for other programs and for people: JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from edgeinfer.sessions.store import Message, Session


def as_json(session: Session, messages: Sequence[Message]) -> str:
    """One document: the session, and its messages in order."""
    said = [
        {
            "role": message.role,
            "content": message.content,
            "attachments": [asdict(attachment) for attachment in message.attachments],
            "reasoning": message.reasoning or None,
            "created_at": _moment(message.created_at),
            "finish_reason": message.finish,
            "cost": message.cost or None,
        }
        for message in messages
    ]
    about = {**asdict(session), "created_at": _moment(session.created_at), "messages": said}
    for inner in ("id", "leaf", "updated_at"):
        del about[inner]
    return json.dumps(about, ensure_ascii=False, indent=2) + "\n"


def as_markdown(session: Session, messages: Sequence[Message]) -> str:
    """For reading; reasoning is folded away."""
    parts = [f"# {session.title or 'Conversation'}", f"{session.model}, {_moment(session.created_at)}"]
    if session.system:
        parts += ["## System", session.system]
    for message in messages:
        parts.append("## You" if message.role == "user" else "## Model")
        if message.reasoning:
            parts.append(f"<details><summary>Reasoning</summary>\n\n{message.reasoning}\n\n</details>")
        parts.append(message.told)
    return "\n\n".join(parts) + "\n"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
