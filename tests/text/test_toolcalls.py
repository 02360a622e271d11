"""Reading answers: what a model's own template writes is read back, however it is cut into tokens."""

from __future__ import annotations

import functools
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import TEMPLATES, load, needs_templates, write_vocabulary

from edgeinfer.text.conversation import Conversation
from edgeinfer.text.grammar import GrammarCompiler
from edgeinfer.text.messages import uniform
from edgeinfer.text.parts import CallArguments, CallBegun, Content, Part, Reasoning, joined
from edgeinfer.text.prompt import chat_prompt
from edgeinfer.text.sandbox import Limits
from edgeinfer.text.template import ChatTemplate
from edgeinfer.text.tokenizer import Tokenizer
from edgeinfer.text.toolcalls.families import FAMILIES, family_of
from edgeinfer.text.toolcalls.forcing import answer_grammar
from edgeinfer.text.toolcalls.reader import chat_reader
from edgeinfer.text.toolcalls.source import Source
from edgeinfer.text.toolcalls.syntax import Syntax

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Where?"},
                "days": {"type": "integer", "description": "How many?"},
                "units": {"anyOf": [{"$ref": "#/$defs/Units"}, {"type": "null"}], "description": "Which?"},
                "places": {"type": "array", "items": {"type": "object"}, "description": "Near."},
                "exact": {"type": "boolean", "description": "No guesses."},
            },
            "$defs": {"Units": {"enum": ["metric", "imperial"], "type": "string"}},
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
TOOLS = (WEATHER, CLOCK)
USER = {"role": "user", "content": "Wie ist das Wetter in Köln?"}
ARGUMENTS: list[dict[str, Any]] = [
    {"city": "Köln"},
    {},
    {"city": 'a "quoted" {brace}\n\n[line] <b>\\', "days": 3, "exact": True},
    {"places": [{"x": 1.5, "y": None}, {}], "units": None, "city": "True"},
]
MARKS = sorted(
    {mark for family in FAMILIES for mark in family.visible if mark.count("<") < 2}
    | {"<|call|>", "<|return|>"}
)


@functools.cache
def tokenizer() -> Tokenizer:
    """All bytes, and the marks of all families as control tokens."""
    with tempfile.TemporaryDirectory() as folder:
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *MARKS]
        types = [2, 3, 3, *[6] * 256, *[3] * len(MARKS)]
        path = write_vocabulary(
            Path(folder) / "m.gguf", "llama", tokens, types=types, scores=[0.0] * len(tokens)
        )
        return load(path)


def as_bytes(text: str) -> Iterator[int]:
    yield from (3 + byte for byte in text.encode())


def as_marks(text: str, marks: Sequence[str] = MARKS) -> Iterator[int]:
    """Bytes, but a token for each mark."""
    for piece in re.split("(" + "|".join(map(re.escape, marks)) + ")", text):
        yield from [259 + MARKS.index(piece)] if piece in marks else as_bytes(piece)


def read(syntax: Syntax, ids: Iterable[int], *, thinks: bool = False, **asked: Any) -> list[Part]:
    """The parts of an answer with these tokens."""
    conversation = Conversation([USER], **{"tools": TOOLS, **asked})
    reader = chat_reader(syntax, tokenizer(), conversation, thinks=thinks)
    parts: list[Part] = []
    for token in ids:
        parts += reader.push(token)
        if reader.done:
            return parts
    return [*parts, *reader.finish()]


def simple(parts: list[Part]) -> dict[str, Any]:
    """What a client sees of them; arguments as text."""
    return {
        "content": "".join(p.text for p in parts if isinstance(p, Content)),
        "reasoning": "".join(p.text for p in parts if isinstance(p, Reasoning)),
        "calls": [(call.name, call.arguments) for call in joined(parts)],
    }


def called(parts: list[Part]) -> list[tuple[str, Any]]:
    return [(name, json.loads(arguments)) for name, arguments in simple(parts)["calls"]]


@functools.cache
def template_of(name: str) -> ChatTemplate:
    source = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return ChatTemplate(source, eos_token="</s>", limits=Limits(cpu_s=5))  # whatever else runs here


ENDS = ("<|im_end|>", "<|eot_id|>", "</s>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "<|tool_response>")


def written(template: ChatTemplate, answer: dict[str, Any], **variables: Any) -> tuple[str, bool]:
    """What this template writes for an answer, and whether its prompt opens the reasoning."""
    tools = Conversation([], TOOLS).callable_tools
    prompt = template.render(uniform([USER]), tools=tools, **variables)
    text = template.render(uniform([USER, answer]), tools=tools, add_generation_prompt=False, **variables)
    begin = next(i for i in range(len(text)) if prompt[i : i + 1] != text[i])
    while text[begin - 1] in "<|｜":  # of two marks that begin alike
        begin -= 1
    text = text[begin:]
    for end in ENDS:
        text = text.partition(end)[0]
    return text, family_of(template.source).thinking_in(prompt, template.source) == "begun"


def call(name: str, arguments: Any, id: str = "abc012345") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


ONE_CALL = ("meta-llama-Llama-3.2-3B-Instruct", "openai-gpt-oss-120b")
NO_CALLS = (
    "LFM2.5-Instruct",
    "HuggingFaceTB-SmolLM3-3B",
    "google-gemma-2-2b-it",
    "microsoft-Phi-3.5-mini-instruct",
)
CALLERS = sorted(path.stem for path in TEMPLATES.glob("*.jinja") if path.stem not in NO_CALLS)


@needs_templates
@pytest.mark.parametrize("ids", [as_bytes, as_marks])
@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("name", CALLERS)
def test_the_calls_that_a_template_writes_are_read_back(
    name: str, arguments: dict[str, Any], ids: Callable[[str], Iterator[int]]
) -> None:
    template = template_of(name)
    calls = [("get_weather", arguments)] if name in ONE_CALL else [("get_weather", arguments), ("clock", {})]
    answer = {"role": "assistant", "content": "", "tool_calls": [call(n, a) for n, a in calls]}
    text, thinks = written(template, answer)
    parts = read(family_of(template.source), ids(text), thinks=thinks)
    assert called(parts) == calls
    assert simple(parts)["content"] == ""


@needs_templates
@pytest.mark.parametrize("name", CALLERS)
def test_what_is_said_and_thought_beside_a_call_is_read_back(name: str) -> None:
    template = template_of(name)
    said = {
        "content": "" if name in ONE_CALL else "Let me see.\nA moment.",
        "reasoning_content": "Hm.\n\nYes.",
    }
    answer = {"role": "assistant", **said, "tool_calls": [call("clock", {})]}
    text, thinks = written(template, answer, enable_thinking=True)
    opened = thinks and "</think>" in text  # DeepSeek-R1 drops old thoughts
    found = simple(read(family_of(template.source), as_marks(text), thinks=opened))
    assert found["calls"] == [("clock", "{}")]
    assert found["content"] == (said["content"] if "moment" in text else "")
    assert found["reasoning"] == (said["reasoning_content"] if "Hm." in text else "")


def named(name: str) -> Syntax:
    return next(syntax for syntax in FAMILIES if syntax.name == name)


CITY = '{"city": "Köln"}'
START = "<|start|>assistant<|channel|>"
FORMS = {  # family -> answers that think "Hm.", say "Look:" and ask for the weather in Köln
    "gpt-oss": f"<|channel|>analysis<|message|>Hm.<|end|>{START}commentary<|message|>Look:<|end|>{START}"
    f"commentary to=functions.get_weather <|constrain|>json<|message|>{CITY}",
    "magistral": f"[THINK]Hm.[/THINK]Look:[TOOL_CALLS]get_weather[CALL_ID]a1b2c3d4e[ARGS]{CITY}",
    "mistral": f"<think>Hm.</think>Look:[TOOL_CALLS]get_weather{CITY}",
    "deepseek-v3.1": "<think>Hm.</think>Look:<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather"
    f"<｜tool▁sep｜>{CITY}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek-r1": "<think>Hm.</think>Look:<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>"
    f"get_weather\n```json\n{CITY}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "mistral-small": f"<think>Hm.</think>Look:[TOOL_CALLS]get_weather[ARGS]{CITY}",
    "qwen3-coder": "\n<think>\nHm.\n</think>\n\nLook:\n\n<function=get_weather>\n<parameter=city>\nKöln\n"
    "</parameter>\n</function>",
    "hermes": '<think>Hm.</think> Look: <tool_call>{"arguments": "{\\"city\\": \\"K\\u00f6ln\\"}", '
    '"name": "get_weather"}</tool_call>',
    "granite3": f'<think>Hm.</think>Look: <|tool_call|>[{{"name": "get_weather", "arguments": {CITY}}}]',
    "llama3": f'<think>Hm.</think>Look:<|python_tag|>{{"type": "function", "function": "get_weather", '
    f'"parameters": {CITY}}}',
    "lfm2": "<think>Hm.</think>Look:<|tool_call_start|>[get_weather(city='Köln')]<|tool_call_end|>",
    "gemma4": "<|channel>thought\nHm.\n<channel|>Look:"
    '<|tool_call>call:get_weather{city:<|"|>Köln<|"|>}<tool_call|>',
}


@pytest.mark.parametrize("ids", [as_bytes, as_marks])
@pytest.mark.parametrize("family", [syntax.name for syntax in FAMILIES])
def test_every_family_is_read(family: str, ids: Callable[[str], Iterator[int]]) -> None:
    parts = read(named(family), ids(FORMS[family]))
    assert called(parts) == [("get_weather", {"city": "Köln"})]
    assert (simple(parts)["reasoning"], simple(parts)["content"]) == ("Hm.", "Look:")


@pytest.mark.parametrize("family", [syntax.name for syntax in FAMILIES])
def test_without_tools_there_are_no_calls(family: str) -> None:
    parts = simple(read(named(family), as_marks(FORMS[family]), tools=()))
    assert (parts["calls"], parts["reasoning"]) == ([], "Hm.")
    assert "city" in parts["content"]


def test_several_calls_without_marks_between_them() -> None:
    text = f'{{"name": "get_weather", "parameters": {CITY}}}; {{"name": "clock", "parameters": {{}}}}'
    assert [name for name, _ in called(read(named("llama3"), as_bytes(text)))] == ["get_weather", "clock"]


NO_CALL = [
    ("hermes", "<tool_call>\n{'name': 'clock'}</tool_call>"),
    ("hermes", '<tool_call>{"name": 7}</tool_call>'),
    ("hermes", '<tool_call>{"name": "clo'),
    ("hermes", "a <tool_ca"),
    ("hermes", "a < b and <tool_calls> are"),
    ("qwen3-coder", "<tool_call>\n<function=clo\nck>"),
    ("llama3", '{"name": "Alice", "parameters": {"age": 7}}'),
    ("llama3", '{"city": "Köln", "name": "clock"}'),
    ("llama3", '\n {"a": [1, 2]}  \n'),
    ("llama3", '<|python_tag|>brave_search.call(query="x")'),
    ("mistral", "[TOOL_CALLS] are made like this"),
    ("mistral", '[TOOL_CALLS][{"nam'),
    ("lfm2", "<|tool_call_start|>[clock(7)]<|tool_call_end|>"),
    ("lfm2", "<|tool_call_start|>[clock(]<|tool_call_end|>"),
    ("gemma4", "<|tool_call>clock"),
    ("granite3", "<|tool_call|>none"),
    ("gpt-oss", "Hello.\nHow are you? \n"),
]


@pytest.mark.parametrize(("family", "text"), NO_CALL)
def test_what_is_no_call_is_content(family: str, text: str) -> None:
    assert simple(read(named(family), as_bytes(text))) == {"content": text, "reasoning": "", "calls": []}


@pytest.mark.parametrize("family", [syntax.name for syntax in FAMILIES])
def test_one_call_at_most_ends_the_answer(family: str) -> None:
    twice = read(named(family), as_marks(FORMS[family] * 2), parallel_tool_calls=False)
    assert called(twice) == [("get_weather", {"city": "Köln"})]


@pytest.mark.parametrize("family", [syntax.name for syntax in FAMILIES])
def test_every_beginning_of_an_answer_is_read(family: str) -> None:
    ids = list(as_marks(FORMS[family]))
    whole = simple(read(named(family), ids))
    for n in range(len(ids)):
        parts = simple(read(named(family), ids[:n]))
        assert whole["reasoning"].startswith(parts["reasoning"])
        for (name, arguments), (whole_name, all_of_them) in zip(parts["calls"], whole["calls"], strict=False):
            assert name == whole_name
            certain = arguments.partition("\\n")[0].rstrip("\ufffd")  # without half a mark or character
            assert all_of_them.startswith(certain)


WORDS = [
    *("Hello", " world", "\n", " ", "<", "{", "}", "[", "]", '"', "\\", ",", ":", ";", "é", "null", "name"),
    *('{"name": "get_weather", "arguments": {"city": "Köln"}}', '"parameters"', '{"name": "clock"'),
    *("get_weather", "clock", "<parameter=city>", "</parameter>", "<function=clock>", "</function>"),
    *("analysis", "final", "commentary to=functions.clock", "to=", "```json\n", "thought\n", "call:clock{"),
]
ANSWERS = st.sampled_from(FAMILIES).flatmap(
    lambda syntax: st.tuples(
        st.just(syntax), st.lists(st.sampled_from([*WORDS, *syntax.visible]), max_size=16).map("".join)
    )
)


@given(ANSWERS, st.booleans())
def test_how_the_text_is_cut_changes_nothing(answer: tuple[Syntax, str], thinks: bool) -> None:
    """Marks are tokens or bytes, or everything is there at once."""
    syntax, text = answer
    parts = simple(
        read(syntax, as_marks(text, [mark for mark in syntax.visible if mark in MARKS]), thinks=thinks)
    )
    assert parts == simple(read(syntax, as_bytes(text), thinks=thinks))
    source = Source({"get_weather": WEATHER["function"]["parameters"], "clock": {}})
    source.feed(text.removeprefix(" "))  # as the tokenizer's decoder does
    source.end()
    next(syntax.parser(source, thinks=thinks), None)
    assert parts == simple([*source.found(rest=True)])


@pytest.mark.parametrize("family", [syntax.name for syntax in FAMILIES])
def test_text_streams_at_once(family: str) -> None:
    """But for white space, which may stand before a call, and what may become a mark."""
    reader = chat_reader(named(family), tokenizer(), Conversation([USER], TOOLS))
    for letter in "Good morning":
        [token] = as_bytes(letter)
        assert bool(reader.push(token)) != (letter == " ")


def test_arguments_stream_as_they_come() -> None:
    reader = chat_reader(named("hermes"), tokenizer(), Conversation([USER], TOOLS))
    begin = '<tool_call>{"name": "get_weather", "arguments": '
    begun = [part for token in as_marks(begin) for part in reader.push(token)]
    assert [type(part) for part in begun] == [CallBegun]
    for letter in '{"city": "K':
        [token] = as_bytes(letter)
        assert reader.push(token) == [CallArguments(0, letter)]


TYPED = [
    ("3", {"type": "integer"}, 3),
    ("3", {"type": "string"}, "3"),
    ("three", {"type": "integer"}, "three"),
    ("False", {"type": "boolean"}, False),
    ("None", {"type": ["string", "null"]}, None),
    ("NaN", {"type": "number"}, "NaN"),
    ('["a"]', {"type": "array"}, ["a"]),
    ('{"a": 1}', {}, {"a": 1}),
    ("a\nb", {"enum": ["a\nb"]}, "a\nb"),
    ("7", {"$ref": "#/$defs/Code"}, "7"),
    ("7", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, 7),
]


@pytest.mark.parametrize(("text", "schema", "value"), TYPED)
def test_values_in_xml_have_the_types_of_the_schema(text: str, schema: dict[str, Any], value: object) -> None:
    parameters = {"type": "object", "properties": {"x": schema}, "$defs": {"Code": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    answer = f"<tool_call>\n<function=f>\n<parameter=x>\n{text}\n</parameter>\n</function>\n</tool_call>"
    assert called(read(named("qwen3-coder"), as_bytes(answer), tools=tools)) == [("f", {"x": value})]


@needs_templates
@pytest.mark.parametrize("name", sorted(path.stem for path in TEMPLATES.glob("*.jinja")))
def test_every_template_tells_of_tools_calls_and_results(name: str) -> None:
    """In whatever dialect they come: arguments as text or as an object, ids of any length or none."""
    template = template_of(name)
    for made in (
        call("get_weather", {"city": "Köln"}, id="call_0123456789"),
        {"function": {"name": "get_weather", "arguments": {"city": "Köln"}}},
    ):
        messages = [
            {"role": "developer" if "id" in made else "system", "content": "Be brief."},
            USER,
            {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [made]},
            {"role": "tool", "tool_call_id": made.get("id"), "content": [{"type": "text", "text": "sunny"}]},
        ]
        text = chat_prompt(template, Conversation(messages, TOOLS))
        assert "The weather in a city" in text
        assert "sunny" in text
        assert "Be brief." in text or "Nemo" in name  # which has it only before a last message of the user
        assert "get_weather" in text.replace("The weather in a city", "").rpartition("Wetter")[2]
        assert re.search(r'"?city"?[:>=]\W*Köln', text.rpartition("Wetter")[2])


@needs_templates
@pytest.mark.parametrize("name", sorted(path.stem for path in TEMPLATES.glob("*.jinja")))
def test_several_calls_and_their_results_stand_in_every_prompt(name: str) -> None:
    calls = [call("get_weather", {"city": "Köln"}, id="a"), call("clock", {}, id="b")]
    results = [{"role": "tool", "tool_call_id": id, "content": f"result {id}"} for id in ("b", "a")]
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    text = chat_prompt(template_of(name), Conversation(messages, TOOLS)).rpartition("in Köln?")[2]
    assert all(text.count(word) == 1 for word in ("Köln", "result a", "result b")), text
    assert "clock" in text


JSON_FORMS = [
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
    "Qwen-Qwen2.5-7B-Instruct",
    "Qwen-Qwen3-0.6B",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "ibm-granite-granite-4.1",
    "meta-llama-Llama-3.2-3B-Instruct",
]


@needs_templates
@pytest.mark.parametrize("name", JSON_FORMS)
def test_what_a_template_writes_is_what_a_forced_model_may_write(name: str) -> None:
    template = template_of(name)
    family = family_of(template.source)
    made = [call("get_weather", {"city": "Köln", "days": 3})]
    text, begun = written(template, {"role": "assistant", "content": "", "tool_calls": made})
    thinking = "begun" if begun else "possible" if "<think>" in text else "over"
    asked = Conversation([USER], TOOLS, tool_choice="required")
    grammar = answer_grammar(family, tokenizer(), asked, thinking, None)
    n_vocab = tokenizer().n_vocab
    constraint = GrammarCompiler(tokenizer(), n_vocab).compile(grammar).constraint()
    for token in as_marks(text):
        assert constraint.mask()[token] == 0, text
        constraint.advance(token)
    assert constraint.mask()[2] == 0  # it may end here


def test_a_forced_model_finds_an_end_after_some_calls() -> None:
    asked = Conversation([USER], TOOLS, tool_choice="required")
    grammar = answer_grammar(named("hermes"), tokenizer(), asked, "over", None)
    constraint = GrammarCompiler(tokenizer(), tokenizer().n_vocab).compile(grammar).constraint()
    n_calls = 0
    written = json.dumps({"name": "get_weather", "arguments": {"city": "x", "days": 1}})
    calls = as_marks(f"<tool_call>\n{written}\n</tool_call>\n" * 100)
    for token in calls:
        if constraint.mask()[token] != 0:
            break
        constraint.advance(token)
        n_calls += tokenizer().token_text(token) == "</tool_call>"
    assert n_calls == 16
    assert constraint.mask()[2] == 0


def test_a_chat_without_tools_is_told_as_it_is() -> None:
    template = ChatTemplate("{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}")
    assert chat_prompt(template, Conversation([USER, USER])) == f"[user: {USER['content']}]" * 2
