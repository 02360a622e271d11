"""Answers that cannot be wrong: a grammar of reasoning, then of calls, or of what content has to be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from edgeinfer.text.conversation import Conversation, NamedTool
from edgeinfer.text.grammar import Grammar, json_rule
from edgeinfer.text.tokenizer import Tokenizer
from edgeinfer.text.toolcalls.syntax import Syntax, Thinking

_SAYS_WHAT_IS_ALLOWED = {
    *("additionalProperties", "patternProperties", "unevaluatedProperties"),
    *("allOf", "anyOf", "oneOf", "$ref"),
}
_MOST_CALLS = 16  # of one answer: a small model may find no end until its context is full


def answer_grammar(
    syntax: Syntax, tokenizer: Tokenizer, asked: Conversation, thinking: Thinking, content: Grammar | None
) -> Grammar:
    """What the answer to a conversation has to be in which calls are forced or content has a grammar.

    Args:
        thinking: how its prompt ends.
        content: what it has to be unless it calls tools.
    """
    rules = _Rules(syntax, tokenizer)
    kinds = [rules.calls(asked)] if asked.callable_tools else []
    if content is not None and not asked.forces_calls:
        kinds.append(rules.content(content))
    rules.add("answer", " | ".join(kinds))
    rules.add("start", f"{rules.thoughts(thinking)} answer")
    return Grammar("JSON schema" if content is None else content.kind, rules.text)


class _Rules:
    """Rules of a grammar in llguidance's variant of Lark, with special tokens in their texts."""

    def __init__(self, syntax: Syntax, tokenizer: Tokenizer) -> None:
        self._syntax = syntax
        ids = ((mark, tokenizer.find(mark)) for mark in syntax.visible)
        self._tokens = {mark: id for mark, id in ids if id is not None and tokenizer.is_special(id)}
        self._rules: list[str] = []

    @property
    def text(self) -> str:
        """The grammar."""
        return "\n".join(self._rules)

    def add(self, name: str, expression: str) -> str:
        """One rule; returns its name."""
        self._rules.append(f"{name}: {expression}")
        return name.partition("[")[0]

    def thoughts(self, thinking: Thinking) -> str:
        """Reasoning, as far as it is still to come."""
        if thinking == "over":
            return ""
        opening, closing = self._syntax.thinking
        if closing in self._tokens:
            until = self.add("thoughts", f"/(?s:.*)/ {self._written(closing)}")
        else:
            until = self.add(f"thoughts[suffix={_string(closing)}]", "/(?s:.*)/")
        spaced = f'{until} ("\\n" "\\n"?)?'
        return spaced if thinking == "begun" else f"({self._written(opening)} {spaced})?"

    def calls(self, asked: Conversation) -> str:
        """One call or some of tools that may be called."""
        form = self._syntax.form
        before, middle, behind = form.call
        chosen = asked.tool_choice.name if isinstance(asked.tool_choice, NamedTool) else None
        names = []
        for i, tool in enumerate(asked.tools):
            function = tool.get("function", tool)
            if chosen not in (None, function["name"]):
                continue
            schema = _closed(function.get("parameters") or {})
            arguments = json_rule(schema, lenient=not function.get("strict"))
            name = self._written(f"{before}{function['name']}{middle}")
            names.append(self.add(f"call_{i}", f"{name} {arguments} {self._written(behind)}"))
        self.add("call", " | ".join(names))
        one = form.between is None or chosen is not None or not asked.parallel_tool_calls
        more = "" if one else f"({self._written(form.between or '')} call){{0,{_MOST_CALLS - 1}}}"
        return self.add("calls", f"{self._written(form.begin)} call {more} {self._written(form.end)}")

    def content(self, grammar: Grammar) -> str:
        """Content under a grammar."""
        before = self._written(self._syntax.form.before_content)
        return self.add("content", f"{before} %lark {{\n{grammar.lark_text}\n}}")

    def _written(self, text: str) -> str:
        marks = "|".join(map(re.escape, self._tokens))
        pieces = re.split(f"({marks})", text) if marks else [text]
        tokens = self._tokens
        return " ".join(f"<[{tokens[p]}]>" if p in tokens else _string(p) for p in pieces if p)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of an object that has no other arguments than those which it names."""
    closing = {} if _SAYS_WHAT_IS_ALLOWED & schema.keys() else {"additionalProperties": False}
    return {"type": "object", "properties": {}, **schema, **closing}
