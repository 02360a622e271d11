"""How a family of models writes calls and reasoning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from edgeinfer.text.toolcalls.json_calls import bare_calls
from edgeinfer.text.toolcalls.source import Parser, Source, Steps

Thinking = Literal["begun", "possible", "over"]  # where reasoning is at the end of a prompt


@dataclass(frozen=True)
class CallForm:
    """How calls are written when they have to be.

    Attributes:
        call: what stands before the name, between it and the arguments, which are JSON, and behind them.
        begin, end: around all calls.
        between: between two calls; None: there is only one.
        before_content: what an answer without calls begins with.
    """

    call: tuple[str, str, str] = ('<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>")
    begin: str = ""
    end: str = ""
    between: str | None = "\n"
    before_content: str = ""


@dataclass(frozen=True)
class Syntax:
    """How a family of models writes.

    Attributes:
        name: of the family that had it first.
        signs: what a template contains, all of it, whose model writes so.
        calls: what begins a call, and what parses the rest of it.
        bare: an answer may also begin with a call that nothing marks.
        thinking: what stands before and behind reasoning.
        form: how calls are written when they have to be.
        said: writes calls of earlier answers, for templates that leave them out.
        marks: more tokens that have to be seen; those that stand before calls and around reasoning are.
    """

    name: str
    signs: tuple[str, ...]
    calls: Mapping[str, Parser] = field(default_factory=dict)
    bare: bool = False
    thinking: tuple[str, str] = ("<think>", "</think>")
    form: CallForm = CallForm()
    said: Callable[[Sequence[Mapping[str, Any]]], str] | None = None
    marks: tuple[str, ...] = ()

    @property
    def visible(self) -> tuple[str, ...]:
        """Texts of special tokens that the parser has to see."""
        return (*self.calls, *self.thinking, *self.marks)

    def thinking_in(self, prompt: str, template: str) -> Thinking:
        """Where the reasoning is at the end of a prompt that this template made."""
        opening, closing = self.thinking
        if prompt.rstrip().endswith(opening.rstrip()):
            return "begun"
        return "possible" if opening in template and not prompt.rstrip().endswith(closing) else "over"

    def parser(self, source: Source, *, thinks: bool) -> Steps[None]:
        """For a whole answer; `thinks`: its prompt opens the reasoning."""
        opening, closing = self.thinking
        if (yield from source.attempt(partial(_opened, opening))) or thinks:
            yield from source.until((closing,), source.reasoning)
        calls = self.calls if source.tools else {}
        if source.tools and self.bare and (yield from bare_calls(source)) and source.enough:
            return
        while mark := (yield from source.until(tuple(calls), source.content)):
            if not (yield from source.attempt(calls[mark])):
                source.content(mark)
            elif source.enough:
                return


def _opened(mark: str, source: Source) -> Steps[bool]:
    yield from source.peek()
    return bool((yield from source.skip(mark)))
