"""Streams of text: whole characters, nothing of a stop string, nothing lost."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vocabularies import load, write_vocabulary

from edgeinfer.errors import InvalidRequest
from edgeinfer.text.stream import TextStream
from edgeinfer.text.tokenizer import Tokenizer

N_TOKENS = 3 + 256 + 3


@functools.cache
def tokenizer() -> Tokenizer:
    """<unk>, <s>, </s>, all bytes, and three words."""
    with tempfile.TemporaryDirectory() as folder:
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁ab", "ba", "▁"]
        types = [2, 3, 3, *[6] * 256, 1, 1, 1]
        scores = [0.0] * len(tokens)
        return load(write_vocabulary(Path(folder) / "m.gguf", "llama", tokens, types=types, scores=scores))


def of_text(text: str) -> list[int]:
    return [3 + byte for byte in text.encode()]


def streamed(ids: list[int], *stop: str, continuation: bool = True) -> tuple[str, str | None]:
    stream = TextStream(tokenizer(), stop, continuation=continuation)
    text = "".join([*map(stream.push, ids), stream.finish()])
    return text, stream.stopped_by


tokens = st.lists(st.integers(0, N_TOKENS - 1), max_size=40)
texts = st.text(alphabet="ab é漢😀 ", max_size=30)
stops = st.lists(st.text(alphabet="ab é", min_size=1, max_size=4), min_size=1, max_size=3)


@given(tokens, st.booleans())
def test_the_pieces_joined_are_the_decoded_text(ids: list[int], continuation: bool) -> None:
    expected = tokenizer().decode(ids, continuation=continuation)
    assert streamed(ids, continuation=continuation) == (expected, None)


@given(texts)
def test_no_piece_ends_within_a_character(text: str) -> None:
    stream = TextStream(tokenizer())
    for token in of_text(text):
        assert "\ufffd" not in stream.push(token)
    assert stream.finish() == ""


@given(texts, stops)
def test_a_stream_stops_before_the_stop_string_that_is_complete_first(text: str, stop: list[str]) -> None:
    ends = sorted((text.find(s) + len(s), -len(s), s) for s in stop if s in text)
    expected = (text[: ends[0][0] + ends[0][1]], ends[0][2]) if ends else (text, None)
    assert streamed(of_text(text), *stop) == expected


@given(texts, stops)
def test_what_was_given_out_is_never_the_beginning_of_a_stop_string(text: str, stop: list[str]) -> None:
    stream = TextStream(tokenizer(), stop)
    given_out, seen = "", ""
    for character in text:
        given_out += "".join(map(stream.push, of_text(character)))
        seen += character
        if stream.stopped_by is not None:
            break
        held = seen[len(given_out) :]
        assert seen.startswith(given_out)
        assert held == "" or any(s.startswith(held) for s in stop), "held without need"
        for s in stop:
            beginnings = (s[:n] for n in range(1, len(s)))
            assert not any(seen.endswith(b) and not held.endswith(b) for b in beginnings)


def test_half_a_character_at_the_end_becomes_a_replacement_character() -> None:
    assert streamed(of_text("a漢")[:-1]) == ("a\ufffd", None)


def test_a_byte_that_cannot_go_on_is_shown_with_the_next_piece() -> None:
    stream = TextStream(tokenizer())
    assert stream.push(3 + 0xE6) == ""
    assert stream.push(3 + ord("a")) == "\ufffda"


def test_nothing_comes_after_a_stop_string() -> None:
    stream = TextStream(tokenizer(), ["b"])
    assert [stream.push(token) for token in of_text("abc")] == ["a", "", ""]
    assert stream.finish() == ""


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        TextStream(tokenizer(), [""])
