"""Chat templates: real ones render as Hugging Face would, hostile ones end soon and harm nothing."""

from __future__ import annotations

import ast
import datetime
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from vocabularies import SHARED, TEMPLATES, load, needs_templates, write_vocabulary

from edgeinfer import _native
from edgeinfer.errors import InvalidRequest, TemplateError
from edgeinfer.text.sandbox import Limits
from edgeinfer.text.template import ChatTemplate

NAMES = sorted(path.name for path in TEMPLATES.glob("*.jinja"))
NOW = datetime.datetime(2026, 11, 21, 3, 4, 5)
CITY = {"type": "object", "properties": {"city": {"type": "string", "description": "Where?"}}}
FUNCTION = {"name": "get_weather", "description": "The weather in a city, wie schön", "parameters": CITY}
TOOLS = [{"type": "function", "function": FUNCTION}]
USER = {"role": "user", "content": "Wie ist das Wetter in Köln? <b>"}
CALL = {
    "id": "call12345",
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"city": "Köln"}},
}
CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "simple": ([USER], {}),
    "system": (
        [
            {"role": "system", "content": "Be brief."},
            USER,
            {"role": "assistant", "content": "Sunny."},
            {"role": "user", "content": "Sure?"},
        ],
        {},
    ),
    "tools": ([USER], {"tools": TOOLS}),
    "results": (
        [
            USER,
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": "sunny"},
        ],
        {"tools": TOOLS},
    ),
    "thinking": ([USER], {"enable_thinking": False}),
}


def reference(source: str, values: dict[str, Any]) -> str:
    """What Hugging Face's way of rendering gives: plain sandboxed Jinja, no meter."""

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = NOW.strftime
    return environment.from_string(source).render(**values)


def render(source: str, messages: list[dict[str, Any]] | None = None, **variables: Any) -> str:
    return ChatTemplate(source).render([USER] if messages is None else messages, **variables)


@needs_templates
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_every_real_template_renders_every_conversation(name: str, conversation: str) -> None:
    messages, variables = CONVERSATIONS[conversation]
    source = (TEMPLATES / name).read_text()
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
    text = template.render(messages, now=NOW, **variables)
    assert USER["content"] in text
    values = {"tools": None, "documents": None, **variables, "messages": messages}
    try:
        expected = reference(
            source, {**values, "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>"}
        )
    except (TemplateError, TypeError):
        return  # plain Jinja refuses: our simpler forms of the messages have no counterpart there
    assert text == expected


def test_a_system_message_goes_before_the_first_user_message_where_it_is_refused() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "[{{ m.role }}: {{ m.content }}]{% endfor %}"
    )
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert render(source, messages) == "[user: Be brief.\n\nHi]"


def test_what_a_template_refuses_in_every_form_is_a_template_error() -> None:
    with pytest.raises(TemplateError, match="not today"):
        render("{{ raise_exception('not today') }}")


def test_json_is_written_as_hugging_face_writes_it() -> None:
    assert render("{{ x|tojson }}", x={"ü": "<'&>"}) == '{"ü": "<\'&>"}'
    assert render("{{ x|tojson(indent=2) }}", x=[1]) == "[\n  1\n]"


def test_the_clock_can_be_set() -> None:
    assert render("{{ strftime_now('%d %b %Y') }}", now=NOW) == "21 Nov 2026"


def test_the_generation_tag_changes_nothing() -> None:
    assert render("a{% generation %}{{ 1 }}{% endgeneration %}b") == "a1b"


def test_loops_can_be_left_and_continued() -> None:
    source = (
        "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% endif %}{{ i }}"
    )
    assert render(source + "{% endfor %}") == "02"


def test_variables_with_a_fixed_meaning_cannot_be_given() -> None:
    with pytest.raises(InvalidRequest, match="raise_exception"):
        render("x", raise_exception=1)


def test_a_template_does_not_change_its_messages() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    for change in ("messages.append(1)", "messages[0].update({'a': 1})", "messages.clear()"):
        with pytest.raises(TemplateError):
            render("{{ " + change + " }}", messages)
    assert messages == [{"role": "user", "content": "Hi"}]


def test_a_file_without_a_template_says_what_to_do(tmp_path: Path) -> None:
    path = write_vocabulary(tmp_path / "m.gguf", "llama", ["<unk>", "<s>", "</s>", "▁a"], scores=[0.0] * 4)
    with pytest.raises(TemplateError, match="no chat template") as caught:
        ChatTemplate.from_gguf(_native.gguf_open(str(path)), load(path))
    assert caught.value.hint is not None


def test_a_broken_template_names_the_line() -> None:
    with pytest.raises(TemplateError, match="line 2"):
        render("a\n{% if %}")


def test_the_output_is_bounded() -> None:
    limits = Limits(value_chars=1000)
    source = "{% for i in range(2000) %}x{% endfor %}"
    with pytest.raises(TemplateError, match="1000 characters"):
        ChatTemplate(source, limits=limits).render([USER])


def test_a_template_that_was_stopped_can_be_used_again() -> None:
    source = "{% if n %}" + "{% for i in range(60000) %}" * 2 + "{% endfor %}" * 2 + "{% endif %}ok"
    template = ChatTemplate(source)
    with pytest.raises(TemplateError):
        template.render([USER], n=1)
    assert template.render([USER]) == "ok"


def doubled(first: str, pair: str) -> str:
    """l45: a list of two lists of two lists ..., 2 ** 45 leaves when written out."""
    return f"{{% set l0={first} %}}" + "".join(
        "{% set l" + str(i + 1) + "=" + pair.replace("l", f"l{i}") + " %}" for i in range(45)
    )


BIG = "{% set s = 'x' * 2000000 %}"
MANY = "{% for i in range(60000) %}"
HOSTILE = {
    "shared list shown": doubled("['x']", "[l, l]") + "{{ l45 }}",
    "shared list as json": doubled("['x']", "[l, l]") + "{{ l45|tojson }}",
    "shared lists compared": doubled("['x']", "[l, l]") + "{{ l45 == l44 }}",
    "shared tuple as key": doubled("('x',)", "(l, l)") + "{{ {l45: 1} }}",
    "doubled text": "{% set n=namespace(s='xx') %}" + MANY + "{% set n.s = n.s ~ n.s %}{% endfor %}",
    "added text": "{% set n=namespace(s='xx') %}" + MANY + "{% set n.s = n.s + n.s %}{% endfor %}",
    "squared number": "{% set n=namespace(s=7) %}" + MANY + "{% set n.s = n.s * n.s %}{% endfor %}",
    "wide indent": "{{ ('a\\n' * 100000)|indent(99999) }}",
    "replaced text": "{% set s='a' * 100000 %}{{ s.replace('a', s) }}{{ s|replace('a', s) }}",
    "joined text": "{% set s='a' * 1000000 %}{{ s.join(['a'] * 60000) }}",
    "joined range": "{% set s='a' * 1000000 %}{{ range(60000)|join(s) }}",
    "hoarded texts": "{% set s='a' * 1000000 %}"
    + "{{ range(60000)|map('string')|map('replace', '1', s)|list|length }}",
    "summed lists": "{{ ([[1]] * 60000)|sum(start=[])|length }}",
    "rounded far": "{{ 1|round(999999999, 'ceil') }}",
    "indented json": "{{ [[[1]]]|tojson(indent=999999999) }}",
    "copied texts": BIG + MANY + "{% set y = s[::-1] %}{% endfor %}",
    "searched texts": BIG + MANY + "{% if 'y' in s %}{% endif %}{% endfor %}",
    "upper texts": BIG + MANY + "{% set y = s.upper() %}{% endfor %}",
    "stripped text": "{% set s='b' * 1000000 %}{{ s.strip('a' * 1000000 ~ 'b') }}",
    "split text": BIG + "{{ s.split('x')|length }}",
    "split lines": "{{ ('\\n' * 2000000).splitlines()|length }}",
    "listed text": BIG + "{{ s|list|length }}",
    "two calls each": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}"
    + "{{ f(60) }}",
    "captured text": MANY + "{% set x %}" + "A" * 50000 + "{% endset %}{% endfor %}",
    "filtered block": "{% filter upper %}" + MANY + "A" * 5000 + "{% endfor %}{% endfilter %}",
    "doubled calls": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call m() %}" * 40
    + "x"
    + "{% endcall %}" * 40,
    "repeated percent": "{% set s='a' * 1000000 %}{{ ('%(a)s' * 1000) % {'a': s} }}",
    "star width": "{{ '%*d' % (999999999, 1) }}",
    "padded year": "{{ strftime_now('%999999999Y') }}",
    "namespace in itself": "{% set n=namespace() %}{% set n.a=[n, n] %}{{ n.a }}",
    "recursive loop": "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "many outputs": "{{ a }}" * 9000,
    "long sum": "{{ " + "a + " * 15000 + "a }}",
    "many nots": "{{ " + "not " * 15000 + "a }}",
    "many lists": "{{ " + "[" * 30000 + "]" * 30000 + " }}",
    "many loops": "{% for i in a %}" * 25 + "{% endfor %}" * 25,
    "open braces": "{{" * 30000,
    "open comments": "{#" * 30000 + "{{",
    "long number": "{{ " + "9" * 60000 + " }}",
    "macro's inside": "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "clock's inside": "{{ strftime_now.__call__.__globals__ }}",
    "format": "{{ '{0.__class__}'.format(1) }}",
    "attr": "{{ ''|attr('__class__') }}",
    "import": "{% import 'os' as os %}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_refused(name: str) -> None:
    with pytest.raises(TemplateError):
        render(HOSTILE[name])


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ (messages|first).__init__.__globals__ }}",
        "{{ [1]|map(attribute='__class__')|list }}",
        "{{ self.__init__ }}{{ range.__self__ }}{{ strftime_now._now }}{{ (([1])|map('string')).gi_frame }}",
        "{{ raise_exception.__globals__ }}{{ dict.__subclasses__ }}{{ namespace.__init__ }}",
        "{% for i in [1] %}{{ loop.__class__ }}{{ loop._iterator }}{% endfor %}",
    ],
)
def test_the_inside_of_python_stays_hidden(source: str) -> None:
    try:
        text = render(source)
    except TemplateError:
        return
    assert text in ("", "[Undefined]")


def mutator_templates() -> dict[str, str | bytes]:
    """The templates of shared/tools/gguf_mutator.py, read from its source."""
    path = SHARED.parent / "tools" / "gguf_mutator.py"
    if not path.is_file():
        return {}
    source = path.read_text()
    begin = source.index("    tmpl = {")
    table = textwrap.dedent(source[begin : source.index("\n    }\n", begin) + 6])
    expression = ast.Expression(ast.parse(table).body[0].value)  # type: ignore[attr-defined]
    return dict(eval(compile(expression, str(path), "eval"), {}))  # noqa: S307 (our own team's file)


@needs_templates
def test_the_mutators_templates_end_and_leak_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEINFER_SSTI_CANARY", "canary-in-the-mine")
    templates = mutator_templates()
    assert len(templates) == 29
    for name, source in templates.items():
        text = source.decode("utf-8", "replace") if isinstance(source, bytes) else source
        try:
            rendered = render(text)
        except TemplateError:
            continue
        assert len(rendered) < 100, name
        assert "canary" not in rendered
        assert "class" not in rendered
