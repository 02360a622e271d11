"""Which model writes calls and reasoning how: one entry for each way, told by the model's chat template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from edgeinfer.text.toolcalls import json_calls
from edgeinfer.text.toolcalls.gemma_calls import gemma_call
from edgeinfer.text.toolcalls.harmony import harmony
from edgeinfer.text.toolcalls.python_calls import python_calls
from edgeinfer.text.toolcalls.source import Parser, Source, Steps
from edgeinfer.text.toolcalls.xml_calls import function_call

_TAGS: Mapping[str, Parser] = {"<tool_call>": json_calls.call_in_tag, "<function=": function_call}


@dataclass(frozen=True)
class Syntax:
    """How a family of models writes.

    Attributes:
        name: of the family that had it first.
        signs: what a template contains, all of it, whose model writes so.
        calls: what begins a call, and what parses the rest of it.
        bare: an answer may also begin with a call that nothing marks.
        thinking: what stands before and behind reasoning.
        marks: more tokens that have to be seen; those that stand before calls and around reasoning are.
    """

    name: str
    signs: tuple[str, ...]
    calls: Mapping[str, Parser] = field(default_factory=dict)
    bare: bool = False
    thinking: tuple[str, str] = ("<think>", "</think>")
    marks: tuple[str, ...] = ()

    @property
    def visible(self) -> tuple[str, ...]:
        """Texts of special tokens that the parser has to see."""
        return (*self.calls, *self.thinking, *self.marks)

    def opens_thinking(self, prompt: str) -> bool:
        """Whether this prompt ends in the beginning of reasoning."""
        return prompt.rstrip().endswith(self.thinking[0].rstrip())

    def parser(self, source: Source, *, thinks: bool) -> Steps[None]:
        """For a whole answer; `thinks`: its prompt opens the reasoning."""
        opening, closing = self.thinking
        if (yield from source.attempt(partial(_opened, opening))) or thinks:
            yield from source.until((closing,), source.reasoning)
        calls = self.calls if source.tools else {}
        if source.tools and self.bare and (yield from json_calls.bare_calls(source)) and source.enough:
            return
        while mark := (yield from source.until(tuple(calls), source.content)):
            if not (yield from source.attempt(calls[mark])):
                source.content(mark)
            elif source.enough:
                return


@dataclass(frozen=True)
class _Harmony(Syntax):
    """Reasoning and calls are messages of their own."""

    def opens_thinking(self, prompt: str) -> bool:
        """Never: a prompt ends before a header."""
        return False

    def parser(self, source: Source, *, thinks: bool) -> Steps[None]:
        """See `Syntax`."""
        return harmony(source)


def _opened(mark: str, source: Source) -> Steps[bool]:
    yield from source.peek()
    return bool((yield from source.skip(mark)))


SYNTAXES = (  # the first one counts whose signs are all there
    _Harmony(
        "gpt-oss",
        ("<|start|>", "<|channel|>", "<|message|>"),
        marks=("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>"),
    ),
    Syntax(
        "gemma4",
        ("<|tool_call>", "<tool_call|>"),
        {"<|tool_call>": gemma_call},
        thinking=("<|channel>thought", "<channel|>"),
        marks=("<|channel>", "<tool_call|>", '<|"|>'),
    ),
    Syntax(
        "magistral",
        ("[TOOL_CALLS]", "[THINK]"),
        {"[TOOL_CALLS]": json_calls.mistral_calls},
        thinking=("[THINK]", "[/THINK]"),
        marks=("[ARGS]", "[CALL_ID]"),
    ),
    Syntax(
        "mistral",
        ("[TOOL_CALLS]",),
        {"[TOOL_CALLS]": json_calls.mistral_calls},
        marks=("[ARGS]", "[CALL_ID]"),
    ),
    Syntax(
        "deepseek",
        ("<｜tool▁calls▁begin｜>",),
        {"<｜tool▁calls▁begin｜>": json_calls.deepseek_calls},
        marks=("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"),
    ),
    Syntax("qwen3-coder", ("<function=",), _TAGS, marks=("</tool_call>",)),
    Syntax("hermes", ("<tool_call>",), _TAGS, marks=("</tool_call>",)),
    Syntax("granite3", ("<|tool_call|>",), {"<|tool_call|>": json_calls.call_array}),
    Syntax("llama3", ('"parameters": ', "<|eot_id|>"), {"<|python_tag|>": json_calls.bare_calls}, bare=True),
    Syntax(
        "lfm2",
        ("List of tools: [",),
        {"<|tool_call_start|>": python_calls},
        marks=("<|tool_call_end|>",),
    ),
)
_ANY_OTHER = Syntax("any", (), _TAGS, marks=("</tool_call>",))


def syntax_of(template: str) -> Syntax:
    """How a model with this chat template writes."""
    return next((s for s in SYNTAXES if all(sign in template for sign in s.signs)), _ANY_OTHER)
