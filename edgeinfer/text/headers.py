"""Headers that agents put in front of their system prompts and that change with every request.

They tell the model nothing, and whatever stands behind them would be computed again each time. A rule matches
one known header at the very beginning of the first system message, and drops it; all other text stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgeinfer.text.messages import Message

# who writes it -> the whole header, with its line feed if it has one
_HEADERS: dict[str, re.Pattern[str]] = {
    # x-anthropic-billing-header: cc_version=2.1.37.0d9; cc_entrypoint=cli; cch=fa690;
    # since 2.1.36; the end of cc_version and cch are hashes of the request (anthropics/claude-code#24168)
    "Claude Code": re.compile(r"x-anthropic-billing-header:(?= cc_version=)(?: \w+=[^;\s]*;)+\n?"),
}


def without_volatile_header(messages: Sequence[Message]) -> list[Message]:
    """The messages, without such a header; a message or a part of one that was nothing else is left out."""
    if not messages or messages[0].get("role") not in ("system", "developer"):
        return list(messages)
    first, rest = messages[0], list(messages[1:])
    content = first.get("content")
    if isinstance(content, str):
        left = _cut(content)
        return [{**first, "content": left}, *rest] if left or not content else rest
    if not isinstance(content, list) or not content or not _is_text(content[0]):
        return list(messages)
    text = content[0]["text"]
    left = _cut(text)
    parts = [{**content[0], "text": left}, *content[1:]] if left or not text else content[1:]
    return [{**first, "content": parts}, *rest] if parts else rest


def _cut(text: str) -> str:
    for header in _HEADERS.values():
        if match := header.match(text):
            return text[match.end() :]
    return text


def _is_text(part: object) -> bool:
    return isinstance(part, Mapping) and isinstance(part.get("text"), str)
