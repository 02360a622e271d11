"""Which model writes calls and reasoning how: one entry for each way, told by the model's chat template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeinfer.text.toolcalls import json_calls, python_calls
from edgeinfer.text.toolcalls.gemma_calls import gemma_call
from edgeinfer.text.toolcalls.harmony import harmony
from edgeinfer.text.toolcalls.source import Parser, Source, Steps
from edgeinfer.text.toolcalls.syntax import CallForm, Syntax
from edgeinfer.text.toolcalls.xml_calls import function_call


@dataclass(frozen=True)
class _Harmony(Syntax):
    """Reasoning and calls are messages of their own."""

    def parser(self, source: Source, *, thinks: bool) -> Steps[None]:
        """See `Syntax`."""
        return harmony(source)


_TAGS: Mapping[str, Parser] = {"<tool_call>": json_calls.call_in_tag, "<function=": function_call}
_TAG_MARKS = ("</tool_call>",)
_OBJECT = ('{"name": "', '", "arguments": ', "}")
_MISTRAL: Mapping[str, Parser] = {"[TOOL_CALLS]": json_calls.mistral_calls}
_MISTRAL_MARKS = ("[ARGS]", "[CALL_ID]")
_MISTRAL_FORM = CallForm(("[TOOL_CALLS]", "[ARGS]", ""), between="")
_DEEPSEEK: Mapping[str, Parser] = {"<｜tool▁calls▁begin｜>": json_calls.deepseek_calls}
_DEEPSEEK_MARKS = ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>")

# The first one counts whose signs are all there. Who is forced to call writes JSON in tags where the family's
# own form is no JSON: it can be held to a schema.
FAMILIES = (
    _Harmony(
        "gpt-oss",
        ("<|start|>", "<|channel|>", "<|message|>"),
        thinking=("<|channel|>analysis<|message|>", "<|end|><|start|>assistant"),
        form=CallForm(
            ("<|channel|>commentary to=functions.", " <|constrain|>json<|message|>", ""),
            between=None,
            before_content="<|channel|>final<|message|>",
        ),
        marks=("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>"),
    ),
    Syntax(
        "gemma4",
        ("<|tool_call>", "<tool_call|>"),
        {"<|tool_call>": gemma_call, **_TAGS},
        thinking=("<|channel>thought", "<channel|>"),
        marks=("<|channel>", "<tool_call|>", '<|"|>'),
    ),
    Syntax(
        "magistral",
        ("[TOOL_CALLS]", "[THINK]"),
        _MISTRAL,
        thinking=("[THINK]", "[/THINK]"),
        form=_MISTRAL_FORM,
        marks=_MISTRAL_MARKS,
    ),
    Syntax("mistral-small", ("[TOOL_CALLS]", "[ARGS]"), _MISTRAL, form=_MISTRAL_FORM, marks=_MISTRAL_MARKS),
    Syntax(
        "mistral",
        ("[TOOL_CALLS]",),
        _MISTRAL,
        form=CallForm(_OBJECT, begin="[TOOL_CALLS][", between=", ", end="]"),
        marks=_MISTRAL_MARKS,
    ),
    Syntax(
        "deepseek-r1",
        ("<｜tool▁calls▁begin｜>", "```json"),
        _DEEPSEEK,
        form=CallForm(
            ("<｜tool▁call▁begin｜>function<｜tool▁sep｜>", "\n```json\n", "\n```<｜tool▁call▁end｜>"),
            begin="<｜tool▁calls▁begin｜>",
            end="<｜tool▁calls▁end｜>",
        ),
        marks=_DEEPSEEK_MARKS,
    ),
    Syntax(
        "deepseek-v3.1",
        ("<｜tool▁calls▁begin｜>",),
        _DEEPSEEK,
        form=CallForm(
            ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"),
            begin="<｜tool▁calls▁begin｜>",
            between="",
            end="<｜tool▁calls▁end｜>",
        ),
        marks=_DEEPSEEK_MARKS,
    ),
    Syntax("qwen3-coder", ("<function=",), _TAGS, marks=_TAG_MARKS),
    Syntax("hermes", ("<tool_call>",), _TAGS, marks=_TAG_MARKS),
    Syntax(
        "granite3",
        ("<|tool_call|>",),
        {"<|tool_call|>": json_calls.call_array},
        form=CallForm(_OBJECT, begin="<|tool_call|>[", between=", ", end="]"),
    ),
    Syntax(
        "llama3",
        ('"parameters": ', "<|eot_id|>"),
        {"<|python_tag|>": json_calls.bare_calls},
        bare=True,
        form=CallForm(('{"name": "', '", "parameters": ', "}"), between=None),
    ),
    Syntax(
        "lfm2",
        ("List of tools: [",),
        {"<|tool_call_start|>": python_calls.python_calls, **_TAGS},
        said=python_calls.written,
        marks=("<|tool_call_end|>",),
    ),
)
_ANY_OTHER = Syntax("any", (), _TAGS, marks=_TAG_MARKS)


def family_of(template: str) -> Syntax:
    """How a model with this chat template writes."""
    return next((f for f in FAMILIES if all(sign in template for sign in f.signs)), _ANY_OTHER)
