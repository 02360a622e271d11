"""What names mean: on the hub, in the catalog, on this machine."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import copy, in_ollama, in_the_cache

from edgeinfer.errors import AmbiguousName, NotFound
from edgeinfer.hub.catalog import catalog
from edgeinfer.hub.names import (
    Address,
    Digest,
    HubName,
    find_local,
    find_model,
    locate,
    looks_like_model,
    parse,
)
from edgeinfer.hub.variants import quant_of, variants

DIGEST = "0123456789abcdef" * 4
HOSTS = ("hf.co/", "huggingface.co/", "hf://", "https://huggingface.co/", "https://hf.co/")


@pytest.mark.parametrize(
    ("name", "repo", "quant", "file"),
    [
        ("user/repo", "user/repo", None, None),
        ("user/repo:Q4_K_M", "user/repo", "Q4_K_M", None),
        ("user/repo:q4_k_m", "user/repo", "Q4_K_M", None),
        ("user/repo@q8_0", "user/repo", "Q8_0", None),
        ("user/repo:ud-q4_k_xl", "user/repo", "UD-Q4_K_XL", None),
        ("user/repo:fp16", "user/repo", "F16", None),
        ("hf.co/user/repo:IQ4_XS", "user/repo", "IQ4_XS", None),
        ("huggingface.co/user/repo", "user/repo", None, None),
        ("hf://user/repo", "user/repo", None, None),
        ("https://huggingface.co/user/repo", "user/repo", None, None),
        (
            "https://hf.co/user/repo/resolve/main/a/b-Q4_0.gguf?download=true",
            "user/repo",
            None,
            "a/b-Q4_0.gguf",
        ),
        ("user/repo/sub/file.gguf", "user/repo", None, "sub/file.gguf"),
    ],
)
def test_names_on_the_hub(name: str, repo: str, quant: str | None, file: str | None) -> None:
    assert parse(name) == HubName(repo, quant, file)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen3", ("Qwen/Qwen3-4B-GGUF", "Q4_K_M")),
        ("qwen3:latest", ("Qwen/Qwen3-4B-GGUF", "Q4_K_M")),
        ("Qwen3:4B", ("Qwen/Qwen3-4B-GGUF", "Q4_K_M")),
        ("qwen3:0.6b", ("Qwen/Qwen3-0.6B-GGUF", "Q8_0")),
        ("qwen3:4b-q8_0", ("Qwen/Qwen3-4B-GGUF", "Q8_0")),
        ("qwen3:4b-Q5_K_M", ("Qwen/Qwen3-4B-GGUF", "Q5_K_M")),
        ("qwen3@q6_k", ("Qwen/Qwen3-4B-GGUF", "Q6_K")),
        ("qwen3:30b-a3b-q8_0", ("Qwen/Qwen3-30B-A3B-GGUF", "Q8_0")),
    ],
)
def test_short_names_need_no_network(name: str, expected: tuple[str, str]) -> None:
    wanted = parse(name)
    assert isinstance(wanted, HubName)
    assert (wanted.repo, wanted.quant) == expected


@pytest.mark.parametrize(
    "name", ["qwen3:5b", "qwen33", "qwen3:4b-fast", "hello", "and/", "/x", "a--b/c", "a/..", ""]
)
def test_what_is_no_name_is_not_guessed(name: str) -> None:
    assert parse(name) is None


@given(st.text(alphabet=st.sampled_from("qwen3:4b/-@.hf%\\~ \n\0é"), max_size=30))
def test_any_text_is_a_name_or_none(text: str) -> None:
    try:
        wanted = parse(text)
    except NotFound:
        return
    if isinstance(wanted, HubName):
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", wanted.repo)
        assert ".." not in wanted.repo


ANY_TEXT = st.text(max_size=40) | st.lists(
    st.sampled_from(
        [
            "qwen3",
            ":4b",
            "-q4_K_M",
            "hf.co/",
            "https://",
            "user/repo",
            ":",
            "@",
            "/",
            "..",
            "~",
            "sha256:",
            ".gguf",
            "\0",
        ]
    ),
    max_size=6,
).map("".join)


@given(ANY_TEXT)
def test_any_text_is_a_model_here_or_none(text: str) -> None:
    """Whatever people type: an answer, or an error of ours."""
    for ask in (locate, find_local):
        with contextlib.suppress(NotFound, AmbiguousName):
            ask(text)
    looks_like_model(text)


@given(st.data())
def test_short_names_mean_the_same_however_they_are_spelled(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(list(catalog().models.values())))
    quant = data.draw(st.sampled_from(["Q4_K_M", "Q8_0", "IQ4_XS", "F16", "UD-Q4_K_XL", *model.files]))
    name = "".join(c.upper() if data.draw(st.booleans()) else c for c in model.name_of(quant))
    wanted = parse(name)
    assert isinstance(wanted, HubName)
    assert (wanted.repo, wanted.quant) == (model.repo, quant)


WORD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.]{0,20}", fullmatch=True).filter(lambda word: ".." not in word)


@given(
    WORD, WORD, st.from_regex(r"(UD-)?I?Q[2-8]_(0|K_[SML]|XS)", fullmatch=True), st.sampled_from(["", *HOSTS])
)
def test_repositories_are_read_as_they_are_written(user: str, repo: str, quant: str, host: str) -> None:
    for spelling in (quant, quant.lower()):
        assert parse(f"{host}{user}/{repo}:{spelling}") == HubName(f"{user}/{repo}", quant)
    assert parse(f"{host}{user}/{repo}") == HubName(f"{user}/{repo}")


def test_addresses_and_digests() -> None:
    assert parse("https://example.com/a/model.gguf") == Address("https://example.com/a/model.gguf")
    assert parse(f"https://example.com/m.gguf#sha256={DIGEST}") == Address(
        "https://example.com/m.gguf", DIGEST
    )
    assert parse(DIGEST.upper()) == parse(f"sha256:{DIGEST}") == parse(f"sha256-{DIGEST}") == Digest(DIGEST)
    assert [parse(name) for name in ("http://[::1", "https://", "https:///model.gguf")] == [None] * 3
    assert parse(f"sha256:{DIGEST[:32]}") == Digest(DIGEST[:32])


def test_a_hub_address_that_names_no_repository_is_told() -> None:
    with pytest.raises(NotFound, match="no name on the hub"):
        parse("https://huggingface.co/models")


@pytest.mark.parametrize(
    ("file", "quant"),
    [
        ("Qwen3-4B-Q4_K_M.gguf", "Q4_K_M"),
        ("tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf", "Q4_K_M"),
        ("Phi-3-mini-4k-instruct-q4.gguf", "Q4"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("model-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("BF16/model-00001-of-00002.gguf", "BF16"),
        ("qwen2.5-0.5b-instruct-fp16.gguf", "F16"),
        ("gemma-3-4b-it-q4_0.gguf", "Q4_0"),
        ("model.i1-IQ3_XXS.gguf", "IQ3_XXS"),
        ("Q4-tips.gguf", "Q4"),
        ("model.gguf", ""),
    ],
)
def test_quantizations_are_read_from_file_names(file: str, quant: str) -> None:
    assert quant_of(file) == quant


def test_variants_are_whole_sets_of_shards_and_no_companions() -> None:
    found = variants(
        [
            "m-Q8_0-00002-of-00002.gguf",
            "m-Q8_0-00001-of-00002.gguf",
            "m-Q4_0-00001-of-00002.gguf",
            "m-F16.gguf",
            "mmproj-m-f16.gguf",
            "m-Q6_K.gguf.part",
            "README.md",
        ]
    )
    assert [(v.quant, len(v.files)) for v in found] == [("F16", 1), ("Q8_0", 2)]


def test_a_name_finds_what_is_here_and_is_never_guessed(home: Path, random_model: Path) -> None:
    four = in_the_cache(home, "Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf", random_model)
    for name in (
        "qwen3",
        "qwen3:4b",
        "QWEN3:4b-q4_k_m",
        "Qwen/Qwen3-4B-GGUF",
        "hf.co/qwen/qwen3-4b-gguf:q4_k_m",
    ):
        assert find_model(name) == four
    eight = in_the_cache(home, "Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q8_0.gguf", random_model, b"other")
    assert find_model("qwen3:4b-q8_0") == eight
    assert find_model("qwen3:4b") == four
    with pytest.raises(AmbiguousName) as several:
        find_model("Qwen/Qwen3-4B-GGUF")
    assert "qwen3:4b, qwen3:4b-q8_0" in str(several.value.hint)
    with pytest.raises(NotFound) as missing:
        find_model("qwen3:0.6b")
    assert "edgeinfer pull qwen3:0.6b" in str(missing.value.hint)


def test_one_model_in_two_stores_is_the_first_ones(home: Path, random_model: Path) -> None:
    cached = in_the_cache(home, "a/b", "b-Q8_0.gguf", random_model, b"newer")
    copy(random_model, home / ".lmstudio/models/a/b/b-Q8_0.gguf")
    in_ollama(home, "b", random_model, "hf.co/a/{}/Q8_0")
    for name in ("a/b", "a/b:q8_0", "hf.co/a/b"):
        assert find_model(name) == cached
    assert locate("A/B").name == "a/b:Q8_0"


def test_a_folder_hides_no_name(home: Path, random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    in_ollama(home, "known", random_model)
    (home / "known").mkdir()
    assert find_model("known").is_file()
    with pytest.raises(NotFound, match="is a folder"):
        find_model("./known")


def test_an_unknown_name_shows_the_nearest(home: Path, random_model: Path) -> None:
    in_ollama(home, "my-models", random_model)
    for wrong, near in (
        ("my-modles", "my-models:latest"),
        ("qwem3:4b", "qwen3:4b"),
        ("llama3.3", "llama3.2"),
        ("models", "my-models:latest"),
        ("coder", "qwen2.5-coder"),
    ):
        with pytest.raises(NotFound) as missing:
            find_model(wrong)
        assert near in str(missing.value.hint)


def test_a_file_goes_before_a_name(home: Path, random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    (home / "qwen3").write_bytes(random_model.read_bytes())
    assert find_model("qwen3") == Path("qwen3")


def test_words_that_mean_a_model(home: Path, random_model: Path) -> None:
    in_ollama(home, "known", random_model)
    for word in ("qwen3", "qwen3:4b", "x.gguf", "hf.co/a/b", "known", "edgeinfer-tiny"):
        assert looks_like_model(word)
    for word in ("hello", "and/or", "qwen3 is good", "", "https://example.com", "a" * 5000, "a\0"):
        assert not looks_like_model(word)
