"""Requests that nobody means: each is refused at once, with what is wrong, and the server goes on.

What is behind each is a body that once took the server minutes, gigabytes or an internal error. The client
waits 30 seconds.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving import Served

CHAT, COMPLETIONS, COMPLETION = "/v1/chat/completions", "/v1/completions", "/completion"
USER = {"role": "user", "content": "one"}
MILLION = 10**6


def asking(**fields: Any) -> bytes:
    """For two tokens."""
    return json.dumps({"messages": [USER], "prompt": "one", "max_tokens": 2, **fields}).encode()


BODIES: dict[str, tuple[str, bytes, int, str]] = {
    "numbers": (CHAT, b'{"messages":[' + b"0," * 7 * MILLION + b"0]}", 400, "values"),
    "empty lists": (CHAT, b'{"messages":[' + b"[]," * 5 * MILLION + b"0]}", 400, "values"),
    "keys": (CHAT, b'{"a":""' + b',"b":""' * 2 * MILLION + b"}", 400, "strings"),
    "quotes": (CHAT, b"[" + b"[]," * 99 + b'"' + b'\\"' * 7 * MILLION, 400, "not JSON"),
    "messages": (CHAT, asking(messages=[{"role": "x", "content": 0}] * 70_000), 400, "messages[0].role"),
    "prompts": (COMPLETIONS, asking(prompt=[1.5] * MILLION), 400, "prompt"),
    "biases": (CHAT, asking(logit_bias=dict.fromkeys(range(100_000), "x")), 400, "logit_bias"),
    "as many biases": (COMPLETION, asking(logit_bias=dict.fromkeys(range(280_000), 1)), 400, "logit_bias"),
    "a biased text": (COMPLETION, asking(logit_bias=[["one " * MILLION, 1]]), 400, "1000 characters"),
    "stops": (CHAT, asking(stop=[f"{i}" for i in range(10_000)]), 400, "256 texts"),
    "a long stop": (COMPLETION, asking(stop="x" * 100_000), 400, "65536 characters"),
    "a long stop sequence": ("/v1/messages", asking(stop_sequences=["x" * 100_000]), 400, "characters"),
    "breakers": (COMPLETION, asking(dry_sequence_breakers=["x"] * 65), 400, "dry_sequence_breakers"),
    "a long time": (CHAT, b'{"keep_alive": 1' + b"0" * 400 + b', "messages": []}', 400, "messages"),
}


@pytest.mark.parametrize("name", BODIES)
def test_too_much_is_refused_at_once(served: Served, name: str) -> None:
    path, body, status, problem = BODIES[name]
    answered, answer = served.post(body, path)
    assert (answered, problem in answer["error"]["message"]) == (status, True)
    assert served.post(asking())[0] == 200


def test_what_is_said_does_not_count_as_values(served: Served) -> None:
    status, answer = served.post(asking(messages=[{**USER, "content": '["\\",{}],' * 400_000}]))
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")


def test_an_error_does_not_send_everything_back(served: Served) -> None:
    choice = {"type": "function", "function": {"name": "x" * MILLION}}
    tool = {"type": "function", "function": {"name": "f"}}
    status, answer = served.post(asking(tools=[tool], tool_choice=choice))
    assert (status, len(answer["error"]["message"]) < 3000) == (400, True)
    assert answer["error"]["message"].startswith("tool_choice")


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt", "bos_token", "now", "range"])
def test_variables_of_a_template_are_not_what_it_is_given(served: Served, name: str) -> None:
    status, answer = served.post(asking(chat_template_kwargs={name: []}))
    assert (status, name in answer["error"]["message"]) == (400, True)
    assert served.post(asking(chat_template_kwargs={"self": 1}))[0] == 200


def test_a_file_that_cannot_fit_into_a_prompt_is_left_out_unread(served_bundled: Served) -> None:
    files = [{"text": "x = 1\n" * 2 * MILLION, "filename": "a.py"}]
    body = {"input_prefix": "def f", "input_suffix": "", "input_extra": files, "n_predict": 2}
    status, answer = served_bundled.post(json.dumps(body).encode(), "/infill")
    assert (status, answer["truncated"]) == (200, True)


@pytest.mark.parametrize("with_pieces", [False, True])
def test_long_texts_have_all_their_tokens(served: Served, with_pieces: bool) -> None:
    text, tokenizer = "one of " * 20_000, served.model.tokenizer
    _, answer = served.post(json.dumps({"content": text, "with_pieces": with_pieces}).encode(), "/tokenize")
    ids = [token["id"] if with_pieces else token for token in answer["tokens"]]
    assert ids == tokenizer.encode(text, add_special=False)
