"""The model that ships in the package, as a person meets it on a fresh machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import edgeinfer
from edgeinfer.errors import NotFound
from edgeinfer.hub.names import BUNDLED, find_model

Run = Callable[..., "tuple[int, str, str]"]


def trained() -> bool:
    """Whether this checkout has the trained models; `models/tiny` makes them."""
    try:
        return all(find_model(name) for name in BUNDLED)
    except NotFound:
        return False


pytestmark = pytest.mark.skipif(not trained(), reason="this checkout has no trained models in models/tiny")


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


@pytest.mark.parametrize("name", BUNDLED)
def test_the_files_are_sound_and_small(name: str, edgeinfer_command: Run) -> None:
    assert edgeinfer_command("check", name)[0] == 0
    assert sum(find_model(n).stat().st_size for n in BUNDLED) < 12_000_000


def test_both_have_the_same_tokens() -> None:
    with edgeinfer.load("edgeinfer-tiny") as tiny, edgeinfer.load("edgeinfer-nano") as nano:
        text = Path(__file__).read_text()
        assert tiny.n_vocab == nano.n_vocab
        assert tiny.tokenizer.encode(text) == nano.tokenizer.encode(text)
        assert tiny.perplexity(text) < nano.perplexity(text) < nano.n_vocab  # which guessing would reach
