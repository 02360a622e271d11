"""Modelfiles, as Ollama's users write them: a model, and what it is told once and for all.

    FROM qwen3:4b
    PARAMETER temperature 0.2
    SYSTEM You answer in one sentence.

Instructions and their order are Ollama's (docs.ollama.com/modelfile). A value ends with its line; one that
begins with " or three of them ends with the line that ends so. There are no escapes.
"""

from __future__ import annotations

import codecs
import contextlib
import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgeinfer.defaults import Defaults
from edgeinfer.errors import InvalidRequest, TemplateError
from edgeinfer.hub.ollama_parameters import LOADING, WITHOUT_EFFECT, argument, check_stop

MOST_BYTES = 1 << 20  # licences are long
_MOST_INSTRUCTIONS = 2000  # each copies what was told before it, and all created models are read for a list
_QUOTES = ('"""', '"')
_INSTRUCTIONS = ("FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "MESSAGE", "LICENSE")
# what is written for Ollama's own machinery, and what holds here in its place
_OLLAMAS = {
    "RENDERER": "the chat template of the model's file is used",
    "PARSER": "answers are read in the form of the model's family",
    "REQUIRES": "it speaks of Ollama's version",
    "CAPABILITY": "what a model can is read from its file",
}

# what a Go template has and a Jinja one cannot have: {{ .Prompt }}, {{- if .System }}, {{ $last := ... }}
_GO = re.compile(r"\{\{-?\s*(?:/\*|[.$]|(?:if|else|end|range|with|define|block|template|break|continue)\b)")

_NO_TEMPLATE = "leave TEMPLATE out: the chat template of the model's file is used; or give one in Jinja"


class BadModelfile(InvalidRequest):
    """A Modelfile, or a part of it, that means nothing here."""


@dataclass(frozen=True)
class Modelfile:
    """What a Modelfile says; `str` of it is a Modelfile again.

    Attributes:
        base: what FROM names.
        parameters: (name, value) in order, as they were written; `stop` may be there several times.
        system, template: None: nothing is said of it.
        remarks: on instructions that are left out, since they mean nothing here.
        has_go_template: whether one of them is a template of Ollama's kind.
    """

    base: str
    parameters: tuple[tuple[str, str], ...] = ()
    template: str | None = None
    system: str | None = None
    messages: tuple[tuple[str, str], ...] = ()  # (role, content)
    licenses: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=(), compare=False)
    has_go_template: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        """Raises BadModelfile: a text has lines that no Modelfile can have."""
        return "".join(f"{line}\n" for line in self._lines())

    def over(self, former: Modelfile) -> Modelfile:
        """What this one adds to another, on whose model it builds."""
        named = {name for name, _ in self.parameters}
        kept = tuple((name, value) for name, value in former.parameters if name not in named)
        return Modelfile(
            former.base,
            kept + self.parameters,
            former.template if self.template is None else self.template,
            former.system if self.system is None else self.system,
            self.messages or former.messages,
            tuple(dict.fromkeys(former.licenses + self.licenses)),
            self.remarks,
            self.has_go_template,
        )

    @property
    def without_effect(self) -> list[str]:
        """Parameters that mean nothing here, and change no answer."""
        return [name for name, _ in self.parameters if name in WITHOUT_EFFECT]

    def parameter_lines(self) -> Iterator[str]:
        """As PARAMETER takes them."""
        return (f"{name} {quoted(value)}" for name, value in self.parameters)

    def defaults(self) -> Defaults:
        """For a model. Raises InvalidRequest: a parameter, the template or a role is none that we have."""
        given: dict[str, Any] = {}
        for name, value in self.parameters:
            if name == "stop":
                check_stop(value, len(given.get(name, ())))
                given[name] = (*given.get(name, ()), value)
            else:
                given |= argument(name, value)
        if self.template is not None:
            _compile(self.template)
        for role, _ in self.messages:
            _check_role(role)
        return Defaults(
            system=self.system or "",
            messages=self.messages,
            template=self.template,
            options=tuple((name, value) for name, value in given.items() if name not in LOADING),
            loading=tuple((name, value) for name, value in given.items() if name in LOADING),
        )

    def _lines(self) -> Iterator[str]:
        yield f"FROM {quoted(self.base)}"
        for line in self.parameter_lines():
            yield f"PARAMETER {line}"
        if self.template is not None:
            yield f"TEMPLATE {quoted(self.template)}"
        if self.system is not None:
            yield f"SYSTEM {quoted(self.system)}"
        for role, content in self.messages:
            yield f"MESSAGE {role} {quoted(content)}"
        for text in self.licenses:
            yield f"LICENSE {quoted(text)}"


def parse(data: bytes, source: str) -> Modelfile:
    """Read a Modelfile.

    Args:
        data: all of it; UTF-8, or UTF-16 with its mark.
        source: how to call it in errors.

    Raises:
        BadModelfile: the message names source and line, the hint what is allowed.
    """
    lines = _lines_of(data, source)
    found, n_instructions = Modelfile(""), 0
    for number, line in lines:
        try:
            told = _with(found, line, lines)
        except InvalidRequest as wrong:
            raise BadModelfile(f"{source}, line {number}: {wrong.message}", hint=wrong.hint) from None
        n_instructions += told is not found
        if n_instructions > _MOST_INSTRUCTIONS:
            raise BadModelfile(f"{source} has more than {_MOST_INSTRUCTIONS:,} instructions")
        found = told
    if not found.base:
        raise BadModelfile(
            f"{source} has no FROM", hint="say which model: FROM qwen3:4b, or FROM ./file.gguf"
        )
    return found


def from_json(base: str, told: Mapping[str, Any]) -> Modelfile:
    """What Ollama's store and port say in JSON; `Modelfile.defaults` tells whether it makes sense.

    Args:
        told: parameters, system, messages, template, license.

    Raises:
        AttributeError, KeyError, TypeError: it does not look like that.
    """
    parameters = dict(told.get("parameters") or {})
    said = [(_text(m["role"]), _text(m["content"])) for m in told.get("messages") or ()]
    systems = [told.get("system"), *(content for role, content in said if role == "system")]
    return Modelfile(
        base,
        tuple((name, _text(value)) for name in parameters for value in _several(parameters[name])),
        template=told.get("template"),
        system=systems[-1],
        messages=tuple((role, content) for role, content in said if role != "system"),
        licenses=tuple(map(_text, _several(told.get("license")))),
    )


def _several(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def quoted(text: str) -> str:
    """A value as it is written. Raises BadModelfile: it cannot be, as nothing is escaped."""
    for mark in _QUOTES if "\n" in text else ("", *reversed(_QUOTES)):
        first, *others = f"{mark}{text}{mark}".split("\n")
        rest = enumerate(others)
        with contextlib.suppress(BadModelfile):
            if not {"\r", "\0"} & set(text) and _value(first, rest) == text and not any(True for _ in rest):
                return "\n".join((first, *others))
    raise BadModelfile(
        f'a Modelfile cannot say {text[:40]!r}: nothing is escaped in it, and a line ends in """'
    )


def _lines_of(data: bytes, source: str) -> Iterator[tuple[int, str]]:
    """(number, line), without what ends it."""
    if len(data) > MOST_BYTES:
        raise BadModelfile(f"{source} has more than {MOST_BYTES >> 20} MiB, no Modelfile has")
    marked = data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # what PowerShell writes
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        hint = "a GGUF file gets a name with `edgeinfer import`" if data[:4] == b"GGUF" else None
        raise BadModelfile(f"{source} is no text", hint=hint)
    return enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1)


def _with(found: Modelfile, line: str, lines: Iterator[tuple[int, str]]) -> Modelfile:
    """What was found so far, with one more instruction, whose text may go on in the lines that follow."""
    word, rest = _split(line)
    if not word or word.startswith("#"):
        return found
    instruction = word.upper()
    if instruction in _OLLAMAS:
        _value(rest, lines)
        return _remarked(found, f"{instruction} is left out: {_OLLAMAS[instruction]}")
    match instruction:
        case "FROM" if not found.base:
            return replace(found, base=_value(rest, lines))
        case "FROM":
            hint = "one model is enough; of one in several files name the first, the others are found"
            raise BadModelfile("a second FROM", hint=hint)
        case "PARAMETER":
            return _with_parameter(found, *_split(rest), lines)
        case "TEMPLATE":
            return _with_template(found, _value(rest, lines))
        case "SYSTEM":
            return replace(found, system=_value(rest, lines))
        case "MESSAGE":
            return _with_message(found, *_split(rest), lines)
        case "LICENSE":
            return replace(found, licenses=(*found.licenses, _value(rest, lines)))
        case "ADAPTER":
            hint = "merge the adapter into the model, and convert that to GGUF"
            raise BadModelfile("ADAPTER is not supported", hint=hint)
    near = difflib.get_close_matches(instruction, _INSTRUCTIONS, n=1)
    known = f"did you mean {near[0]}" if near else f"known are {', '.join(_INSTRUCTIONS)}"
    hint = f'{known}; a text of several lines stands between """ and """'
    raise BadModelfile(f"{word[:40]!r} is no instruction", hint=hint)


def _remarked(found: Modelfile, remark: str) -> Modelfile:
    return replace(found, remarks=(*found.remarks, remark))


def _with_template(found: Modelfile, source: str) -> Modelfile:
    """One of Ollama's is left out: the file that it was made for has it in Jinja."""
    if _GO.search(source):
        remark = "TEMPLATE is left out: it is a Go template, as Ollama has them; that of the file is used"
        return replace(_remarked(found, remark), has_go_template=True)
    _check_template(source)
    return replace(found, template=source)


def _with_parameter(found: Modelfile, name: str, rest: str, lines: Iterator[tuple[int, str]]) -> Modelfile:
    name, value = name.lower(), _value(rest, lines)
    if name != "stop":
        argument(name, value)
        found = replace(found, parameters=tuple(pair for pair in found.parameters if pair[0] != name))
    else:
        check_stop(value, sum(pair[0] == "stop" for pair in found.parameters))
    return replace(found, parameters=(*found.parameters, (name, value)))


def _with_message(found: Modelfile, role: str, rest: str, lines: Iterator[tuple[int, str]]) -> Modelfile:
    role, content = role.lower(), _value(rest, lines)
    if role == "system":  # another way to write SYSTEM
        return replace(found, system=content)
    _check_role(role)
    return replace(found, messages=(*found.messages, (role, content)))


def _check_role(role: str) -> None:
    if role not in ("user", "assistant"):
        hint = "messages are of system, user, assistant"
        raise BadModelfile(f"{role[:40]!r} is no role", hint=hint)


def _split(line: str) -> tuple[str, str]:
    """The first word, and what follows."""
    word, *rest = line.split(None, 1) or ("",)
    return word, rest[0] if rest else ""


def _value(first: str, lines: Iterator[tuple[int, str]]) -> str:
    """A value that begins in this line."""
    whole = first.strip()
    mark = next((mark for mark in _QUOTES if whole.startswith(mark)), "")
    if not whole:
        raise BadModelfile("it has no value", hint='an empty one is ""')
    if not mark or (len(whole) >= 2 * len(mark) and whole.endswith(mark)):
        return whole[len(mark) : len(whole) - len(mark)]
    text = [first.lstrip()[len(mark) :]]
    for _, line in lines:
        if line.rstrip().endswith(mark):
            return "\n".join([*text, line.rstrip()[: -len(mark)]])
        text.append(line)
    raise BadModelfile(f"the text that begins here has no end, which is {mark}")


def _check_template(source: str) -> None:
    """Raises BadModelfile: it is a Go template, or speaks of no messages."""
    if _GO.search(source):
        raise BadModelfile("this is a Go template; edgeinfer has templates in Jinja", hint=_NO_TEMPLATE)
    if "messages" not in source:
        raise BadModelfile("this template does not speak of `messages`", hint=_NO_TEMPLATE)


def _compile(source: str) -> None:
    """Not while models are listed: that would take Jinja's time for each. Raises BadModelfile."""
    from edgeinfer.text.template import ChatTemplate

    _check_template(source)
    try:
        ChatTemplate(source).check()
    except TemplateError as wrong:
        raise BadModelfile(wrong.message, hint=_NO_TEMPLATE) from None
