"""Changing headers of agents: known ones go, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgeinfer
from edgeinfer.text.headers import without_volatile_header

HEADER = "x-anthropic-billing-header: cc_version=2.1.37.0d9; cc_entrypoint=cli; cch=fa690;"
USER = {"role": "user", "content": "hello"}
SYSTEM = "You are of help, and you know " + "all the words that were there " * 6


def system(content: object) -> dict[str, object]:
    return {"role": "system", "content": content}


def part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("content", "left"),
    [
        (f"{HEADER}\nYou are", "You are"),
        (f"{HEADER}You are", "You are"),
        (f"{HEADER.replace(' cch=fa690;', '')}\nYou are", "You are"),
        (f"{HEADER} cc_workload=cron;\n\nYou are", "\nYou are"),
        ([part(HEADER), part("You are")], [part("You are")]),
        ([part(f"{HEADER}\nYou are")], [part("You are")]),
    ],
)
def test_the_header_goes_and_what_stands_behind_it_stays(content: object, left: object) -> None:
    assert without_volatile_header([system(content), USER]) == [system(left), USER]


def test_a_message_that_was_nothing_but_the_header_is_left_out() -> None:
    assert without_volatile_header([system(HEADER), system("You are"), USER]) == [system("You are"), USER]
    assert without_volatile_header([system([part(HEADER)]), USER]) == [USER]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [USER],
        [{"role": "user", "content": HEADER}],
        [system("You are"), system(HEADER), USER],
        [system(f" {HEADER}"), USER],
        [system(f"You are\n{HEADER}"), USER],
        [system("x-anthropic-billing-header: what is that?"), USER],
        [system("x-anthropic-billing-header: cc_version=1.2"), USER],
        [system([{"type": "image_url"}, part(HEADER)]), USER],
        [system([]), USER],
        [system(""), USER],
        [system(None), USER],
    ],
)
def test_everything_else_stays_as_it_is(messages: list[dict[str, object]]) -> None:
    assert without_volatile_header(messages) == messages


def ask(model: edgeinfer.Model, hash: str) -> tuple[str, int, int]:
    """(answer, prompt tokens, how many of them were there already)"""
    messages = [system(f"{HEADER.replace('fa690', hash)}\n{SYSTEM}"), USER]
    stream = model.chat(messages, max_tokens=4, seed=1)
    text = "".join(token.text for token in stream)
    return text, stream.usage.n_prompt, stream.usage.n_cached


def test_two_requests_that_differ_in_the_header_share_their_prompt(random_model: Path) -> None:
    with edgeinfer.load(random_model, context_length=512) as model:
        text, n_prompt, _ = ask(model, "fa690")
        assert ask(model, "0b1c2") == (text, n_prompt, n_prompt - 1)


def test_a_setting_keeps_the_headers(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEINFER_KEEP_HEADERS", "1")
    with edgeinfer.load(random_model, context_length=512) as model:
        ask(model, "fa690")
        _, n_prompt, n_cached = ask(model, "0b1c2")
    assert n_cached < n_prompt // 2
