"""The same mistake is told in the same words by every dialect, in the shape that its clients read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving import Served

USER = {"role": "user", "content": "one of"}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [USER], "max_tokens": 2},
    "/v1/completions": {"prompt": "one of", "max_tokens": 2},
    "/v1/responses": {"input": "one of", "max_output_tokens": 2},
    "/v1/messages": {"messages": [USER], "max_tokens": 2},
    "/api/chat": {"messages": [USER], "stream": False, "options": {"num_predict": 2}},
    "/api/generate": {"prompt": "one of", "stream": False, "options": {"num_predict": 2}},
    "/completion": {"prompt": "one of", "n_predict": 2},
}
CHATS = ("/v1/chat/completions", "/v1/messages", "/api/chat")
TOOLS: dict[str, tuple[Any, Any]] = {  # a tool, and the choice of another one
    "/v1/chat/completions": (
        {"type": "function", "function": {"name": "look"}},
        {"type": "function", "function": {"name": "hear"}},
    ),
    "/v1/responses": ({"type": "function", "name": "look"}, {"type": "function", "name": "hear"}),
    "/v1/messages": ({"name": "look", "input_schema": {}}, {"type": "tool", "name": "hear"}),
}


def with_option(path: str, name: str, value: Any) -> dict[str, Any]:
    body = ASKED[path]
    if "options" in body:
        return {**body, "options": {**body["options"], name: value}}
    return {**body, name: value}


def told(served: Served, path: str, body: Any) -> tuple[int, str, str | None]:
    """Status, message, and which field is wrong where the dialect has a place for that."""
    status, answer = served.post(body if isinstance(body, bytes) else json.dumps(body).encode(), path)
    if status == 200:
        return status, "", None
    error = answer["error"]
    return (status, error, None) if isinstance(error, str) else (status, error["message"], error.get("param"))


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"model":', 400, "the body is not JSON: "),
        (b"[1]", 400, "the body must be a JSON object"),
        ({"model": "gpt-4o"}, 404, "no model is called 'gpt-4o' here; there is random"),
        ({"model": 4}, 400, "model: must be a string, not 4"),
        ({"stream": "yes"}, 400, "stream: must be true or false, not 'yes'"),
        ({"keep_alive": "soon"}, 400, "keep_alive: is no duration"),
    ],
)
def test_a_wrong_body(served: Served, path: str, body: Any, status: int, message: str) -> None:
    asked = body if isinstance(body, bytes) else {**ASKED[path], **body}
    found, said, param = told(served, path, asked)
    assert (found, said[: len(message)]) == (status, message)
    assert param in (None, message.partition(":")[0])


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", -1, "temperature must be a number from 0.0 to 100.0, not -1"),
        ("top_p", 2, "top_p must be a number from 0.0 to 1.0, not 2"),
        ("seed", -7, "seed must be an integer from 0 to 18446744073709551615, not -7"),
        ("temperature", "hot", "temperature: must be a number, not 'hot'"),
    ],
)
def test_a_wrong_option(served: Served, path: str, name: str, value: Any, message: str) -> None:
    status, said, param = told(served, path, with_option(path, name, value))
    assert (status, said.removeprefix("options.")[: len(message)]) == (400, message)
    assert param in (None, name)
    if path.startswith(("/v1/chat", "/v1/resp", "/v1/comp")):
        assert param == name


@pytest.mark.parametrize("path", CHATS)
def test_a_wrong_message(served: Served, path: str) -> None:
    empty = {**ASKED[path], "messages": [{"role": "king", "content": "one"}]}
    status, said, _ = told(served, path, empty)
    assert (status, said.partition(":")[0]) == (400, "messages[0].role")
    assert said.endswith("not 'king'")
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aa"}}
    seen = {**ASKED[path], "messages": [USER, {"role": "user", "content": [image]}]}
    status, said, _ = told(served, path, seen)
    assert (status, said[:22]) == (400, "messages[1].content[0]")
    assert said.endswith("not 'image_url'")


@pytest.mark.parametrize("path", TOOLS)
def test_a_choice_of_no_tool(served: Served, path: str) -> None:
    tool, choice = TOOLS[path]
    status, said, param = told(served, path, {**ASKED[path], "tools": [tool], "tool_choice": choice})
    problem = "tool_choice wants 'hear' to be called, which is none of the tools; there is look"
    assert (status, said) == (400, problem)
    assert param in (None, "tool_choice")


@pytest.mark.parametrize("path", ASKED)
def test_a_prompt_that_is_too_long(served: Served, path: str) -> None:
    long = {name: "word " * 900 for name in ("prompt", "input") if name in ASKED[path]}
    body = {**ASKED[path], **(long or {"messages": [{**USER, "content": "word " * 900}]})}
    status, said, _ = told(served, path, body)
    assert (status, "this model's maximum context length is 256; shorten" in said) == (400, True)


@pytest.mark.parametrize("path", ASKED)
def test_null_and_a_seed_of_minus_one_say_nothing(served: Served, path: str) -> None:
    nulls = dict.fromkeys(("model", "stop", "tools", "tool_choice", "thinking", "text", "output_config"))
    assert told(served, path, {**with_option(path, "seed", -1), **nulls})[0] == 200


def test_a_wrong_path_and_a_wrong_method(served: Served) -> None:
    status, answer = served.post(b"{}", "/v1/nothing")
    assert (status, answer["error"]["code"]) == (404, "not_found")
    status, answer = served.post(b"{}", "/v1/models")
    assert (status, answer["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/" + "x" * 5000, {}, 404),
        ("/health", {"Host": "x" * 5000}, 421),
        ("/health", {"Origin": "https://" + "x" * 5000}, 403),
    ],
)
def test_what_is_told_is_short_whatever_was_asked(
    served: Served, path: str, headers: dict[str, str], status: int
) -> None:
    found, answer = served.post(b"{}", path, **headers)
    assert (found, "xxx..." in answer["error"]["message"]) == (status, True)
    assert len(answer["error"]["message"]) < 200
