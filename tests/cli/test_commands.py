"""The commands on a small random model: data on stdout, talk on stderr, exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import edgeinfer
from edgeinfer.cli.run import read_words
from edgeinfer.errors import NotFound

Run = Callable[..., "tuple[int, str, str]"]


def test_run_streams_an_answer_to_stdout_and_nothing_else(edgeinfer_command: Run, random_model: Path) -> None:
    code, out, err = edgeinfer_command("run", str(random_model), "hello", "-n", "8", "--seed", "1")
    assert (code, err) == (0, "")
    assert out.endswith("\n")


def test_run_with_the_same_seed_says_the_same(edgeinfer_command: Run, random_model: Path) -> None:
    line = ("run", str(random_model), "hello", "-n", "12", "--seed", "5", "--temperature", "1.5")
    assert edgeinfer_command(*line) == edgeinfer_command(*line)


def test_run_reads_the_prompt_from_standard_input(edgeinfer_command: Run, random_model: Path) -> None:
    given = edgeinfer_command("run", str(random_model), "hello you", "-n", "8", "--temperature", "0")
    piped = edgeinfer_command("run", str(random_model), "-n", "8", "--temperature", "0", stdin="hello you\n")
    dashed = edgeinfer_command(
        "run", str(random_model), "-", "-n", "8", "--temperature", "0", stdin="hello you"
    )
    assert given == piped == dashed


def test_run_json_gives_one_object_with_text_counts_and_speeds(
    edgeinfer_command: Run, random_model: Path
) -> None:
    code, out, err = edgeinfer_command("run", str(random_model), "hello", "-n", "8", "--json", "--seed", "1")
    plain = edgeinfer_command("run", str(random_model), "hello", "-n", "8", "--seed", "1")[1]
    report = json.loads(out)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert report["model"] == "random"
    assert report["text"].replace("\r", "") == plain.removesuffix("\n") or "\\x" in plain
    assert report["finish_reason"] in ("stop", "length")
    assert 1 <= report["completion_tokens"] <= 8
    assert 0 < report["first_token_s"] <= report["total_s"]


def test_run_verbose_tells_speeds_on_stderr(edgeinfer_command: Run, random_model: Path) -> None:
    _, _, err = edgeinfer_command("run", str(random_model), "hello", "-n", "4", "--verbose")
    assert "tokens/s" in err


def test_run_stops_before_a_stop_string(edgeinfer_command: Run, random_model: Path) -> None:
    line = ("run", str(random_model), "hello", "-n", "30", "--temperature", "0", "--json")
    text = json.loads(edgeinfer_command(*line)[1])["text"]
    stop = text[10:13]
    report = json.loads(edgeinfer_command(*line, "--stop", stop)[1])
    assert report["text"] == text[: text.index(stop)]
    assert report["finish_reason"] == "stop"


def test_run_best_of_prints_one_of_the_answers(edgeinfer_command: Run, random_model: Path) -> None:
    line = ("run", str(random_model), "hello", "-n", "8", "--json")
    best = json.loads(edgeinfer_command(*line, "--seed", "5", "--best-of", "3")[1])
    single = [json.loads(edgeinfer_command(*line, "--seed", str(seed))[1]) for seed in (5, 6, 7)]
    assert best["text"] in [report["text"] for report in single]
    assert best["cached_tokens"] <= best["prompt_tokens"] - 1


def test_run_ends_at_its_timeout(edgeinfer_command: Run, random_model: Path) -> None:
    line = ("run", str(random_model), "hello", "--json", "--timeout", "0.000001")
    assert json.loads(edgeinfer_command(*line)[1])["finish_reason"] == "deadline"
    code, _, err = edgeinfer_command("run", str(random_model), "hello", "--timeout", "-1")
    assert (code, err.startswith("error: timeout must be")) == (2, True)


def test_run_with_a_full_context_tells_what_it_forgot(edgeinfer_command: Run, random_model: Path) -> None:
    line = ("run", str(random_model), "the", "--raw", "-c", "32", "-n", "80", "--seed", "1")
    code, _, err = edgeinfer_command(*line, "--context-shift")
    assert (code, "tokens behind the first ones were forgotten" in err) == (0, True)
    assert edgeinfer_command(*line)[2] == ""


def test_run_raw_needs_no_template_and_takes_no_system_message(
    edgeinfer_command: Run, random_model: Path
) -> None:
    assert edgeinfer_command("run", str(random_model), "the", "--raw", "-n", "4")[0] == 0
    code, _, err = edgeinfer_command("run", str(random_model), "the", "--raw", "--system", "be brief")
    assert (code, err.startswith("error: --system")) == (2, True)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--temperature", "-1"), "--temperature"),
        (("--top-p", "2"), "--top-p"),
        (("--max-tokens", "0"), "--max-tokens"),
        (("--logit-bias", "5"), "--logit-bias"),
        (("--context-length", "1"), "context_length"),
        (("--kv-type", "q4"), "--kv-type"),
        (("--threads", "0"), "--threads"),
        (("--backend", "magic"), "backend"),
        (("--temperature", "nan"), "--temperature"),
    ],
)
def test_a_senseless_option_exits_2_and_is_named(
    edgeinfer_command: Run, random_model: Path, options: tuple[str, ...], name: str
) -> None:
    code, out, err = edgeinfer_command("run", str(random_model), "hello", *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert name in err.split("\n")[0]


def test_a_prompt_longer_than_the_context_exits_2_with_the_figures(
    edgeinfer_command: Run, random_model: Path
) -> None:
    code, _, err = edgeinfer_command("run", str(random_model), "the " * 200, "--context-length", "64")
    assert code == 2
    assert "maximum context length is 64" in err
    assert "hint: " in err


def test_a_file_that_is_not_there_exits_9(edgeinfer_command: Run) -> None:
    for line in (("run", "nothing.gguf", "hi"), ("show", "nothing.gguf"), ("check", "nothing.gguf")):
        code, out, err = edgeinfer_command(*line)
        assert (code, out) == (9, "")
        assert "nothing.gguf" in err


def test_a_damaged_file_exits_3_with_one_line_and_no_traceback(
    edgeinfer_command: Run, random_model: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(random_model.read_bytes()[:50_000])
    page = tmp_path / "page.gguf"
    page.write_text("<!doctype html><html>not found</html>")
    for path in (cut, page):
        for line in (("run", str(path), "hi"), ("check", str(path)), ("tokenize", "hi", "-m", str(path))):
            code, out, err = edgeinfer_command(*line)
            assert (code, out) == (3, ""), line
            assert err.startswith("error: "), line
            assert "Traceback" not in err


def test_check_tells_ok_and_the_worst_code_of_several(
    edgeinfer_command: Run, random_model: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(100))
    assert edgeinfer_command("check", str(random_model)) == (0, f"{random_model}: ok\n", "")
    assert edgeinfer_command("check", "--quiet", str(random_model)) == (0, "", "")
    code, out, err = edgeinfer_command("check", str(random_model), str(bad))
    assert (code, out) == (3, f"{random_model}: ok\n")
    assert f"error: {bad}: " in err
    code, out, _ = edgeinfer_command("check", "--json", str(random_model), str(bad))
    assert [json.loads(line)["ok"] for line in out.splitlines()] == [True, False]


def test_show_tells_what_is_in_a_file(edgeinfer_command: Run, random_model: Path) -> None:
    code, out, _ = edgeinfer_command("show", str(random_model), "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["model"]["architecture"] == "llama"
    assert facts["model"]["supported"]
    assert facts["shape"]["layers"] == 2
    assert {q["type"] for q in facts["quantization"]} == {"Q8_0", "F32"}
    assert facts["tensors"]["attn_q"] == {"Q8_0": facts["shape"]["layers"]}
    assert facts["memory"]["work"] > 1 << 20
    assert facts["template"]["present"]
    assert facts["memory"]["kv_iq4_nl"] < facts["memory"]["kv_q8_0"] < facts["memory"]["kv_f16"]
    human = edgeinfer_command("show", str(random_model))[1]
    assert "Q8_0" in human
    assert "llama" in human


def test_show_metadata_and_template(edgeinfer_command: Run, random_model: Path) -> None:
    found = json.loads(edgeinfer_command("show", str(random_model), "--metadata", "--json")[1])
    assert found["general.architecture"] == "llama"
    assert found["tokenizer.ggml.tokens"].startswith("array of string")
    assert "messages" in edgeinfer_command("show", str(random_model), "--template")[1]


def test_tokenize_gives_ids_pieces_and_counts_that_agree(edgeinfer_command: Run, random_model: Path) -> None:
    line = ("tokenize", "the word", "-m", str(random_model))
    report = json.loads(edgeinfer_command(*line, "--json")[1])
    assert "".join(report["pieces"]) == "the word"
    assert edgeinfer_command(*line, "--ids")[1].split() == [str(i) for i in report["ids"]]
    assert edgeinfer_command(*line, "--count")[1] == f"{report['count']}\n"
    assert len(edgeinfer_command(*line)[1].splitlines()) == report["count"]
    piped = edgeinfer_command("tokenize", "-m", str(random_model), "--ids", stdin="the word")[1]
    assert piped.split() == [str(i) for i in report["ids"]]


def test_texts_become_vectors(edgeinfer_command: Run, embedding_model: Path) -> None:
    texts = ["one of the words", "that we know"]
    with edgeinfer.load(embedding_model) as model:
        expected = model.embed(texts)
    command = ("embed", "-m", str(embedding_model))
    for given in (edgeinfer_command(*command, *texts), edgeinfer_command(*command, stdin="\n".join(texts))):
        assert [json.loads(line) for line in given[1].splitlines()] == expected.tolist()
    answer = json.loads(edgeinfer_command(*command, *texts, "--json", "--dimensions", "8")[1])
    assert (answer["model"], len(answer["embeddings"]), len(answer["embeddings"][0])) == ("embedder", 2, 8)


def test_a_model_that_answers_gives_no_vectors(edgeinfer_command: Run, random_model: Path) -> None:
    code, out, err = edgeinfer_command("embed", "-m", str(random_model), "x")
    assert (code, out) == (2, "")
    assert "not an embedding model" in err


def test_perplexity_of_a_random_model_is_near_its_vocabulary(
    edgeinfer_command: Run, random_model: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one of the words that we know and use. " * 20)
    code, out, err = edgeinfer_command("perplexity", str(text), "-m", str(random_model), "-c", "64")
    assert code == 0
    assert 10 < float(out) < 1e5
    assert "at most 64 at a time" in err
    assert edgeinfer_command("perplexity", "no.txt", "-m", str(random_model))[0] == 9


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_calls_us(edgeinfer_command: Run, shell: str) -> None:
    code, out, _ = edgeinfer_command("completion", shell)
    assert code == 0
    assert f"_EDGEINFER_COMPLETE={shell}_complete" in out


def test_a_missing_word_is_told_on_one_line(edgeinfer_command: Run) -> None:
    assert edgeinfer_command("completion")[2].splitlines() == [
        "error: Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish",
        "hint: see `edgeinfer completion --help`",
    ]
    assert edgeinfer_command("ps", "--url", "unix:")[::2] == (
        2,
        "error: 'unix:' names no socket\nhint: as 127.0.0.1:8080, https://example.org, or unix:PATH\n",
    )


def test_an_unknown_command_suggests_near_ones(edgeinfer_command: Run) -> None:
    code, out, err = edgeinfer_command("chatt")
    assert (code, out) == (2, "")
    assert err == "error: there is no command 'chatt'\nhint: did you mean `edgeinfer chat`\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), (None, None)),
        (("How do I download a model?",), (None, "How do I download a model?")),
        (("hello",), (None, "hello")),
        (("edgeinfer-tiny",), ("edgeinfer-tiny", None)),
        (("edgeinfer-nano", "hi"), ("edgeinfer-nano", "hi")),
        (("edgeinfer-tiny", "hi", "there"), ("edgeinfer-tiny", "hi there")),
        (("missing.gguf",), ("missing.gguf", None)),
        (("llama3.2",), ("llama3.2", None)),
        (("qwen3:8b", "hi"), ("qwen3:8b", "hi")),
    ],
)
def test_the_first_word_is_the_model_if_it_names_one(
    words: tuple[str, ...], expected: tuple[str | None, str | None]
) -> None:
    assert read_words(words, None) == expected


@pytest.mark.parametrize("words", [("llama9.2",), ("qwen9:8b", "hi"), ("org/model",), ("mystery", "hi")])
def test_a_word_that_can_only_be_a_model_is_not_taken_for_a_prompt(words: tuple[str, ...]) -> None:
    with pytest.raises(NotFound, match="no model is called"):
        read_words(words, None)


def test_with_a_model_option_all_words_are_the_prompt() -> None:
    assert read_words(("edgeinfer-tiny", "is", "small"), "m.gguf") == ("m.gguf", "edgeinfer-tiny is small")


def test_a_conversation_by_pipe_answers_obeys_and_ends(edgeinfer_command: Run, random_model: Path) -> None:
    lines = [
        "hello",
        '"""the',
        'word"""',
        "/set temperature 0",
        "/set temperature 1000",
        "/set nothing 1",
        "/set",
        "/system be brief",
        "/system",
        "/clear",
        "/help",
        "/what",
        "/bye",
        "never read",
    ]
    code, out, err = edgeinfer_command("chat", str(random_model), "-n", "4", stdin="\n".join(lines))
    assert code == 0
    assert out.count("\n") >= 2
    assert "error: temperature must be a number from 0.0 to 100.0, not 1000" in err
    assert "error: nothing is not a parameter" in err
    assert "  temperature 0\n" in err
    assert "be brief" in err
    assert "error: there is no command /what" in err


def test_a_conversation_ends_with_its_input(edgeinfer_command: Run, random_model: Path) -> None:
    assert edgeinfer_command("chat", str(random_model), "-n", "2", stdin="hello\n")[0] == 0


def test_run_holds_the_answer_to_what_is_asked(
    edgeinfer_command: Run, random_model: Path, tmp_path: Path
) -> None:
    schema, grammar = tmp_path / "schema.json", tmp_path / "g.gbnf"
    schema.write_text('{"enum": [{"a": 1}]}')
    grammar.write_text('root ::= "yes"')
    for options, expected in (
        (("--json-schema", str(schema)), r'\{"a": ?1\}\n'),
        (("--json-schema", '{"const": 7}'), "7\n"),
        (("--grammar-file", str(grammar)), "yes\n"),
        (("--regex", "[ab]{3}"), "[ab]{3}\n"),
    ):
        code, out, err = edgeinfer_command("run", str(random_model), "hello", *options)
        assert (code, err) == (0, "")
        assert re.fullmatch(expected, out)


@pytest.mark.parametrize(
    "options",
    [
        ("--regex", "("),
        ("--json-schema", "nowhere.json"),
        ("--json-schema", '{"a"'),
        ("--regex", "a", "--json-schema", "{}"),
    ],
)
def test_what_an_answer_cannot_be_is_a_usage_error(
    edgeinfer_command: Run, random_model: Path, options: tuple[str, ...]
) -> None:
    code, out, err = edgeinfer_command("run", str(random_model), "hello", *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
