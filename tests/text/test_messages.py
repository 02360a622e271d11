"""What every template is told of a conversation, in whatever order a client has it."""

from __future__ import annotations

from typing import Any

import pytest
from vocabularies import TEMPLATES, needs_templates

from edgeinfer.text.conversation import Conversation
from edgeinfer.text.messages import uniform
from edgeinfer.text.prompt import chat_prompt
from edgeinfer.text.template import ChatTemplate

FIRST = {"role": "system", "content": "First rule."}
LATER = {"role": "developer", "content": "Later rule."}
USER = {"role": "user", "content": "A question?"}
ANSWER = {"role": "assistant", "content": "An answer."}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"at": "it"}}}
CALLED = [
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "Seen."},
]
ORDERS: dict[str, list[dict[str, Any]]] = {
    "Codex": [FIRST, LATER, USER],
    "Claude Code": [FIRST, USER, LATER],
    "between turns": [FIRST, USER, ANSWER, LATER, USER],
    "after a result": [FIRST, USER, *CALLED, LATER, USER],
}


@needs_templates
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.stem)
def test_no_template_refuses_or_drops_a_system_message(path: Any, order: str) -> None:
    template = ChatTemplate(path.read_text(), bos_token="<s>", eos_token="</s>")
    text = chat_prompt(template, Conversation(ORDERS[order]))
    assert [said for said in ("First rule.", "Later rule.", "A question?") if said not in text] == []


def test_the_system_speaks_once_and_then_through_the_user() -> None:
    said = uniform([FIRST, LATER, USER, USER, ANSWER, USER, LATER, ANSWER, LATER])
    assert said == [
        {"role": "system", "content": "First rule.\n\nLater rule."},
        USER,
        USER,
        ANSWER,
        {"role": "user", "content": "A question?\n\nLater rule."},
        ANSWER,
        {"role": "user", "content": "Later rule."},
    ]
