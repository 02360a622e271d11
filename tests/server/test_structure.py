"""Structured output on the port: every dialect's way to ask for it, and the answers under their schemas."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import ollama
import pytest
from serving import Served

CHAT: list[Any] = [{"role": "user", "content": "one of the words that we know"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"enum": ["cat", "dog"]}, "n": {"type": "integer", "minimum": 0, "maximum": 999}},
    "required": ["kind", "n"],
    "additionalProperties": False,
}
DIGITS = 'root ::= [0-9] [0-9] | "none"'


def ask(served: Served, path: str, **fields: Any) -> tuple[int, Any]:
    return served.post(json.dumps({"stream": False, **fields}).encode(), path)


def test_openai_json_schema(served: Served) -> None:
    format: Any = {"type": "json_schema", "json_schema": {"name": "pet", "schema": SCHEMA, "strict": True}}
    answer = served.client().chat.completions.create(
        model="random", messages=CHAT, response_format=format, n=3, seed=1
    )
    for choice in answer.choices:
        assert choice.finish_reason == "stop"
        jsonschema.validate(json.loads(choice.message.content or ""), SCHEMA)


def test_openai_json_schema_in_a_stream(served: Served) -> None:
    format: Any = {"type": "json_schema", "json_schema": {"name": "pet", "schema": SCHEMA}}
    options: Any = {"model": "random", "messages": CHAT, "response_format": format, "seed": 1}
    chunks = served.client().chat.completions.create(**options, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == served.client().chat.completions.create(**options).choices[0].message.content


def test_openai_responses(served: Served) -> None:
    format: Any = {"format": {"type": "json_schema", "name": "pet", "schema": SCHEMA, "strict": True}}
    answer = served.client().responses.create(model="random", input="a pet", text=format)
    jsonschema.validate(json.loads(answer.output_text), SCHEMA)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"messages": CHAT}),
        ("/v1/completions", {"prompt": "one", "max_tokens": 60}),
        ("/completion", {"prompt": "one", "n_predict": 60}),
    ],
)
def test_grammar_regex_and_schema_are_fields_of_their_own(served: Served, path: str, fields: Any) -> None:
    def text(**asked: Any) -> str:
        status, answer = ask(served, path, seed=3, **fields, **asked)
        assert status == 200, answer
        if "choices" not in answer:
            return str(answer["content"])
        choice = answer["choices"][0]
        return str(choice["message"]["content"] if "message" in choice else choice["text"])

    assert re.fullmatch(r"\d\d|none", text(grammar=DIGITS))
    assert re.fullmatch(r"[a-f]{4}!", text(regex="[a-f]{4}!"))
    jsonschema.validate(json.loads(text(json_schema=SCHEMA)), SCHEMA)


@pytest.mark.parametrize("format", ["json", SCHEMA])
def test_ollama_format(served: Served, format: Any) -> None:
    options = {"seed": 4, "num_predict": 60}
    with ollama.Client(f"http://127.0.0.1:{served.port}") as client:
        chat = client.chat("random", CHAT, format=format, options=options)
        generated = client.generate("random", "a pet", format=format, options=options)
    for text, reason in (
        (chat.message.content, chat.done_reason),
        (generated.response, generated.done_reason),
    ):
        assert (text or "").startswith("{")
        if reason == "stop":
            assert isinstance(json.loads(text or ""), dict)
        if format == SCHEMA:
            jsonschema.validate(json.loads(text or ""), SCHEMA)


def test_no_room_for_the_rest_is_length(served: Served) -> None:
    format = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    answer = ask(served, "/v1/chat/completions", messages=CHAT, response_format=format, max_tokens=3)[1]
    assert answer["choices"][0]["finish_reason"] == "length"


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("chat/completions", {"response_format": {"type": "yaml"}}, "response_format"),
    ("chat/completions", {"response_format": {"type": "json_schema"}}, "response_format"),
    ("chat/completions", {"grammar": "root ::= ("}, "grammar"),
    ("chat/completions", {"grammar": 'root ::= (("a"?){100}){100}'}, "grammar"),
    ("chat/completions", {"grammar": "root ::= " + "(" * 60000 + '"a"' + ")" * 60000}, "grammar"),
    ("chat/completions", {"grammar": DIGITS, "regex": "a"}, "regex"),
    ("chat/completions", {"regex": "(" * 1000}, "regex"),
    ("chat/completions", {"json_schema": {"$ref": "http://127.0.0.1:9/x"}}, "schema"),
    ("chat/completions", {"json_schema": {"enum": [f"x{i}" for i in range(100_000)]}}, "schema"),
    ("completions", {"prompt": "x", "json_schema": 7}, "json_schema"),
]


@pytest.mark.parametrize(("path", "fields", "field"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_nonsense_is_a_400_that_names_it(served: Served, path: str, fields: Any, field: str) -> None:
    status, answer = ask(served, f"/v1/{path}", messages=CHAT, **fields)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert field in answer["error"]["message"]
    assert ask(served, "/v1/completions", prompt="x", max_tokens=1)[0] == 200  # it lives on
