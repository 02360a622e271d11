"""Prompts for filling in the middle, in the frames that families were trained with."""

from __future__ import annotations

from pathlib import Path

import pytest
from vocabularies import load, write_vocabulary

from edgeinfer.errors import ContextLengthExceeded, InvalidRequest
from edgeinfer.text.infill import File, Framed, Infill, can_infill, frame
from edgeinfer.text.tokenizer import Tokenizer

LETTERS = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
FILES = (File("a.py", "aa"), File("b.py", "b"))

# family -> its special tokens, and the prompt for "x" [...] "y" without and with other files
FRAMES = {
    "qwen2.5-coder": (
        ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>"),
        "<|fim_prefix|>x<|fim_suffix|>y<|fim_middle|>",
        "<|repo_name|>repository\n<|file_sep|>a.py\naa<|file_sep|>b.py\nb<|file_sep|>file\n"
        "<|fim_prefix|>x<|fim_suffix|>y<|fim_middle|>",
    ),
    "starcoder": (
        ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
        "<fim_prefix>x<fim_suffix>y<fim_middle>",
        "\n\n--- snippet ---\n\naa\n\n--- snippet ---\n\nb<fim_prefix>x<fim_suffix>y<fim_middle>",
    ),
    "deepseek-coder": (
        ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
        "<｜fim▁begin｜>x<｜fim▁hole｜>y<｜fim▁end｜>",
        None,
    ),
    "code-llama": (("▁<PRE>", "▁<SUF>", "▁<MID>"), "▁<PRE>x▁<SUF>y▁<MID>", None),
    "codestral": (("[PREFIX]", "[SUFFIX]", "[MIDDLE]"), "[SUFFIX]y[PREFIX]x", None),
}


def tokenizer_with(tmp_path: Path, *special: str) -> Tokenizer:
    tokens = [*LETTERS, *special]
    types = [2, *[6] * 256, 1, *[3] * len(special)]
    keys = {"add_space_prefix": False, "add_bos_token": False}
    path = tmp_path / "vocabulary.gguf"
    return load(write_vocabulary(path, "llama", tokens, scores=[0.0] * len(tokens), types=types, **keys))


def text_of(tokenizer: Tokenizer, framed: Framed) -> str:
    special = {i: tokenizer.token_text(i) for i in range(len(LETTERS), tokenizer.n_vocab)}
    return "".join(special.get(i) or tokenizer.token_bytes(i).decode() for i in framed.ids)


@pytest.mark.parametrize("family", FRAMES)
def test_a_prompt_is_framed_as_the_family_was_trained(tmp_path: Path, family: str) -> None:
    special, alone, with_files = FRAMES[family]
    tokenizer = tokenizer_with(tmp_path, *special)
    assert can_infill(tokenizer)
    assert text_of(tokenizer, frame(tokenizer, Infill("x", "y"), 1000)) == alone
    if with_files is not None:
        assert text_of(tokenizer, frame(tokenizer, Infill("x", "y", FILES), 1000)) == with_files


def test_texts_of_special_tokens_are_plain_text(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, *FRAMES["starcoder"][0])
    framed = frame(tokenizer, Infill("<fim_suffix>", "y"), 1000)
    assert framed.ids.count(len(LETTERS) + 1) == 1


def test_files_without_room_are_left_out_the_first_ones_first(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, *FRAMES["starcoder"][0])
    both = frame(tokenizer, Infill("x", "y", FILES), 1000)
    alone = frame(tokenizer, Infill("x", "y"), 1000)
    for room in range(len(alone.ids) + 10, len(both.ids) + 20):
        framed = frame(tokenizer, Infill("x", "y", FILES, n_answer=10), room)
        assert len(framed.ids) + 10 <= room
        last = frame(tokenizer, Infill("x", "y", FILES[2 - framed.n_files :]), 1000)
        assert framed.ids == last.ids
    assert frame(tokenizer, Infill("x", "y", FILES, n_answer=10), len(both.ids) + 10).n_files == 2
    assert frame(tokenizer, Infill("x", "y", FILES, n_answer=10), len(both.ids) + 9).n_files == 1


def test_the_text_around_is_never_cut(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, *FRAMES["starcoder"][0])
    assert len(frame(tokenizer, Infill("x" * 90, "y" * 6), 100).ids) == 99
    with pytest.raises(ContextLengthExceeded, match="100 tokens, this model's maximum context length is 100"):
        frame(tokenizer, Infill("x" * 90, "y" * 7), 100)


def test_a_model_without_such_tokens_says_so(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(tmp_path, "<fim_prefix>")
    assert not can_infill(tokenizer)
    with pytest.raises(InvalidRequest, match="no tokens for filling in the middle"):
        frame(tokenizer, Infill("x", "y"), 100)
