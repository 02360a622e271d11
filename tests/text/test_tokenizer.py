"""What the tokenizer does with small vocabularies, odd files and odd text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vocabularies import load, write_vocabulary

from edgeinfer.errors import BadModelFile, InvalidRequest, UnsupportedModel
from edgeinfer.text.pretokenize import pretokenizer, pretokenizer_names
from edgeinfer.text.tokenizer import Tokenizer

CONTROL, USER_DEFINED = 3, 4
BYTES = [f"<0x{b:02X}>" for b in range(256)]
SPM_TOKENS = ["<unk>", "<s>", "</s>", *BYTES, "▁", "a", "b", "▁a", "ab", "▁ab", "<tag>", "<|x|>"]
SPM_TYPES = [2, 3, 3, *[6] * 256, 1, 1, 1, 1, 1, 1, USER_DEFINED, CONTROL]
SPM_SCORES = [0.0] * 259 + [-9.0, -5.0, -6.0, -3.0, -2.0, -1.0, 0.0, 0.0]


def byte_alphabet() -> list[str]:
    """The 256 characters of GPT-2's byte alphabet, by byte."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256, 512))
    return [chr(b if b in prints else next(others)) for b in range(256)]


BPE_TOKENS = [*byte_alphabet(), "ab", "bc", "abc", "Ġab", "<|im_end|>", "<|tool|>"]
BPE_MERGES = ["b c", "a b", "a bc", "Ġ ab"]
BPE_TYPES = [1] * 260 + [CONTROL, USER_DEFINED]


def scores(tmp_path: Path, **keys: Any) -> Tokenizer:
    path = tmp_path / "scores.gguf"
    return load(write_vocabulary(path, "llama", SPM_TOKENS, scores=SPM_SCORES, types=SPM_TYPES, **keys))


def byte_pairs(tmp_path: Path, **keys: Any) -> Tokenizer:
    path = tmp_path / "pairs.gguf"
    keys = {"pre": "gpt-2", **keys}
    return load(write_vocabulary(path, "gpt2", BPE_TOKENS, merges=BPE_MERGES, types=BPE_TYPES, **keys))


def texts(tokenizer: Tokenizer, text: str, **options: Any) -> list[str]:
    return [tokenizer.token_text(token) for token in tokenizer.encode(text, **options)]


def test_the_pair_with_the_best_score_is_merged_first(tmp_path: Path) -> None:
    assert texts(scores(tmp_path), "ab ab a", add_special=False) == ["▁ab", "▁ab", "▁a"]


def test_the_lowest_merge_goes_first(tmp_path: Path) -> None:
    assert texts(byte_pairs(tmp_path), "abc ab") == ["abc", "Ġab"]
    assert texts(byte_pairs(tmp_path), "bab") == ["b", "ab"]


def test_characters_without_a_token_become_bytes(tmp_path: Path) -> None:
    assert texts(scores(tmp_path), "aé", add_special=False) == ["▁a", "<0xC3>", "<0xA9>"]


def test_bos_comes_first_unless_the_file_or_the_caller_says_no(tmp_path: Path) -> None:
    assert texts(scores(tmp_path), "a") == ["<s>", "▁a"]
    assert texts(scores(tmp_path), "a", add_special=False) == ["▁a"]
    assert texts(scores(tmp_path, add_bos_token=False), "a") == ["▁a"]


def test_eos_comes_last_where_the_file_says_so(tmp_path: Path) -> None:
    assert texts(scores(tmp_path, add_eos_token=True), "a") == ["<s>", "▁a", "</s>"]


def test_the_space_prefix_can_be_switched_off(tmp_path: Path) -> None:
    assert texts(scores(tmp_path, add_space_prefix=False), "a", add_special=False) == ["a"]


def test_control_tokens_are_text_unless_they_are_parsed(tmp_path: Path) -> None:
    tokenizer = byte_pairs(tmp_path)
    assert "<|im_end|>" not in texts(tokenizer, "ab<|im_end|>")
    assert texts(tokenizer, "ab<|im_end|>ab", parse_special=True) == ["ab", "<|im_end|>", "ab"]


def test_user_defined_tokens_are_always_found(tmp_path: Path) -> None:
    assert texts(byte_pairs(tmp_path), "ab<|tool|>ab") == ["ab", "<|tool|>", "ab"]


def test_decoding_leaves_control_tokens_out(tmp_path: Path) -> None:
    tokenizer = byte_pairs(tmp_path)
    ids = tokenizer.encode("ab<|im_end|><|tool|>", parse_special=True)
    assert tokenizer.decode(ids) == "ab<|tool|>"
    assert tokenizer.decode(ids, skip_special=False) == "ab<|im_end|><|tool|>"


def test_the_end_of_a_turn_is_known_by_its_text(tmp_path: Path) -> None:
    tokenizer = byte_pairs(tmp_path)
    assert tokenizer.eog_ids == {BPE_TOKENS.index("<|im_end|>")}
    assert tokenizer.special.eot == BPE_TOKENS.index("<|im_end|>")


@given(st.text(st.characters(exclude_categories=())))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_but_for_lone_surrogates(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    clean = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    folder = tmp_path_factory.getbasetemp()
    for make in (scores, byte_pairs):
        tokenizer = make(folder)
        assert tokenizer.decode(tokenizer.encode(text)) == clean


@given(st.text(), st.sampled_from(pretokenizer_names()))
def test_the_words_of_every_pretokenizer_joined_are_the_text(text: str, name: str) -> None:
    words = pretokenizer(name).words(text)
    assert "".join(words) == text
    assert all(words)


def test_the_longest_special_token_wins(tmp_path: Path) -> None:
    tokens = [*byte_alphabet(), "<a>", "<a><b>", "<b><c>"]
    types = [1] * 256 + [USER_DEFINED] * 3
    tokenizer = load(
        write_vocabulary(tmp_path / "m.gguf", "gpt2", tokens, merges=["a b"], types=types, pre="gpt-2")
    )
    assert texts(tokenizer, "<a><b><c>x<a>") == ["<a><b>", "<", "c", ">", "x", "<a>"]


def test_a_duplicate_token_means_its_first_id(tmp_path: Path) -> None:
    tokens = [*BPE_TOKENS, "ab"]
    path = write_vocabulary(tmp_path / "m.gguf", "gpt2", tokens, merges=BPE_MERGES, pre="gpt-2")
    assert load(path).encode("ab") == [BPE_TOKENS.index("ab")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "rwkv"}, "rwkv"),
        ({"pre": "of another day"}, "tokenizer.ggml.pre"),
        ({"model": "gpt2", "merges": None}, "tokenizer.ggml.merges"),
        ({"merges": ["ab"]}, "merge 0"),
        ({"model": "llama"}, "tokenizer.ggml.scores"),
        ({"eos_token_id": 5000}, "eos_token_id 5000"),
        ({"eos_token_id": "2"}, "eos_token_id"),
        ({"add_bos_token": 1}, "add_bos_token"),
        ({"types": [1, 1]}, "token_type"),
        ({"scores": [0.5]}, "scores"),
        ({"scores": [float("nan")] * len(BPE_TOKENS)}, "scores"),
        ({"tokens": ["x" * 65537]}, "token 0"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_by_key(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    keys = {"model": "gpt2", "tokens": BPE_TOKENS, "merges": BPE_MERGES, "pre": "gpt-2", **change}
    path = tmp_path / "m.gguf"
    write_vocabulary(path, keys.pop("model"), keys.pop("tokens"), **keys)
    with pytest.raises(BadModelFile, match=message):
        load(path)


def test_an_unknown_pretokenizer_is_unsupported_and_says_what_to_do() -> None:
    with pytest.raises(UnsupportedModel) as caught:
        pretokenizer("of another day")
    assert caught.value.hint is not None


@pytest.mark.parametrize("token", [-1, len(BPE_TOKENS), 2**31 - 1])
def test_an_id_outside_the_vocabulary_is_refused(tmp_path: Path, token: int) -> None:
    with pytest.raises(InvalidRequest, match=str(token)):
        byte_pairs(tmp_path).decode([token])


def test_importing_the_tokenizer_does_not_import_jinja() -> None:
    code = "import edgeinfer.text.tokenizer, edgeinfer.text.stream, sys; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
