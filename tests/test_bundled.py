"""The model that ships in the package, as a person meets it on a fresh machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import edgeinfer
from edgeinfer.errors import NotFound
from edgeinfer.hub.names import BUNDLED, find_model

Run = Callable[..., "tuple[int, str, str]"]


def has_nano() -> bool:
    """Whether this checkout has the draft model; `models/tiny` makes it."""
    try:
        return find_model("edgeinfer-nano").is_file()
    except NotFound:
        return False


needs_nano = pytest.mark.skipif(not has_nano(), reason="this checkout has no edgeinfer-nano in models/tiny")


def test_asked_how_to_download_it_names_the_command(edgeinfer_command: Run) -> None:
    code, out, _ = edgeinfer_command("run", "How do I download a model?", "--temperature", "0")
    assert code == 0
    assert "edgeinfer pull" in out


def test_a_conversation_goes_on_from_what_was_said(edgeinfer_command: Run) -> None:
    lines = "hello\nHow do I download a model?\n/bye\n"
    code, out, err = edgeinfer_command("chat", "--temperature", "0", "--verbose", stdin=lines)
    assert code == 0
    assert "edgeinfer pull" in out
    assert " cached" in err


def test_the_tiny_model_is_sound_and_small(edgeinfer_command: Run) -> None:
    assert edgeinfer_command("check", "edgeinfer-tiny")[0] == 0
    assert find_model().stat().st_size < 10_000_000


@needs_nano
def test_the_draft_model_is_sound_and_both_together_are_small(edgeinfer_command: Run) -> None:
    assert edgeinfer_command("check", "edgeinfer-nano")[0] == 0
    assert sum(find_model(name).stat().st_size for name in BUNDLED) < 12_000_000


@needs_nano
def test_both_have_the_same_tokens() -> None:
    with edgeinfer.load("edgeinfer-tiny") as tiny, edgeinfer.load("edgeinfer-nano") as nano:
        text = Path(__file__).read_text()
        assert tiny.n_vocab == nano.n_vocab
        assert tiny.tokenizer.encode(text) == nano.tokenizer.encode(text)
        assert tiny.perplexity(text) < nano.perplexity(text) < nano.n_vocab  # which guessing would reach
