"""Modelfiles: what they say, and what is wrong with those that say nothing."""

from __future__ import annotations

import codecs
import contextlib
import random

import pytest

from edgeinfer.errors import InvalidRequest
from edgeinfer.hub.modelfile import MOST_BYTES, Modelfile, parse


def read(text: str | bytes) -> Modelfile:
    return parse(text if isinstance(text, bytes) else text.encode(), "Modelfile")


# What Ollama's parser makes of these, as its source and its documents tell
SAID: list[tuple[str, Modelfile]] = [
    (
        "FROM llama3.2\n# more creative\nPARAMETER temperature 1\nPARAMETER num_ctx 4096\n\n"
        "SYSTEM You are Mario from super mario bros, acting as an assistant.\n",
        Modelfile(
            "llama3.2",
            (("temperature", "1"), ("num_ctx", "4096")),
            system="You are Mario from super mario bros, acting as an assistant.",
        ),
    ),
    ("  FROM   a b.gguf  \n", Modelfile("a b.gguf")),
    ('FROM "a b.gguf"', Modelfile("a b.gguf")),
    ("FrOm x\nsYsTeM y\nPaRaMeTeR Stop z", Modelfile("x", (("stop", "z"),), system="y")),
    (
        'FROM x\nSYSTEM """\nThis is a\nmultiline system.\n"""',
        Modelfile("x", system="\nThis is a\nmultiline system.\n"),
    ),
    ('FROM x\nSYSTEM """This is\n"one".   """  ', Modelfile("x", system='This is\n"one".   ')),
    ('FROM x\nSYSTEM "This is\nsecond line"', Modelfile("x", system="This is\nsecond line")),
    ('FROM x\nSYSTEM """"quoted""""', Modelfile("x", system='"quoted"')),
    ('FROM x\nSYSTEM ""', Modelfile("x", system="")),
    ('FROM x\nSYSTEM """"""', Modelfile("x", system="")),
    ("FROM x\nSYSTEM # no comment", Modelfile("x", system="# no comment")),
    (
        'FROM x\nPARAMETER stop " "\nPARAMETER stop <|end|>',
        Modelfile("x", (("stop", " "), ("stop", "<|end|>"))),
    ),
    ("FROM x\nPARAMETER top_k 1\nPARAMETER top_k 2", Modelfile("x", (("top_k", "2"),))),
    (
        "FROM x\nMESSAGE user Hey there!\nMESSAGE assistant Hello: I want\nMESSAGE system You",
        Modelfile("x", system="You", messages=(("user", "Hey there!"), ("assistant", "Hello: I want"))),
    ),
    ("FROM x\r\nSYSTEM a\rLICENSE b\r\nLICENSE c", Modelfile("x", system="a", licenses=("b", "c"))),
    ("FROM x\nTEMPLATE {{ messages }}", Modelfile("x", template="{{ messages }}")),
    ("FROM x\nSYSTEM \u2028line\u0085", Modelfile("x", system="line")),
]


@pytest.mark.parametrize(("text", "said"), SAID)
def test_what_is_said(text: str, said: Modelfile) -> None:
    assert read(text) == said
    assert read(codecs.BOM_UTF8 + text.encode()) == read(text.encode("utf-16")) == said


@pytest.mark.parametrize(("text", "said"), SAID)
def test_what_is_written_says_the_same(text: str, said: Modelfile) -> None:
    assert read(str(said)) == said


def test_any_text_comes_back_or_is_refused() -> None:
    rng = random.Random(5)
    for _ in range(3000):
        text = "".join(
            rng.choices(['"', '"""', "\n", "\r", " ", "#", "a", "FROM", "ä", "\t"], k=rng.randint(0, 9))
        )
        said = Modelfile(
            "x", (("stop", text or "z"),), system=text, messages=(("user", text),), licenses=(text,)
        )
        written = None
        with contextlib.suppress(InvalidRequest):
            written = str(said)
        if written is None:
            assert "\r" in text or any(line.rstrip().endswith('"""') for line in text.split("\n"))
        else:
            assert read(written) == said


def test_later_ones_win() -> None:
    former = read(
        "FROM x\nPARAMETER top_k 1\nPARAMETER stop a\nPARAMETER seed 3\nSYSTEM a\nMESSAGE user b\nLICENSE c"
    )
    later = read(
        'FROM y\nPARAMETER seed -1\nPARAMETER stop b\nPARAMETER num_predict -1\nSYSTEM ""\nLICENSE d'
    )
    both = later.over(former)
    assert both.parameters == (("top_k", "1"), ("seed", "-1"), ("stop", "b"), ("num_predict", "-1"))
    assert (both.base, both.system, both.messages) == ("x", "", (("user", "b"),))
    assert both.licenses == ("c", "d")
    assert dict(both.defaults().options)["stop"] == ("b",)
    assert "seed" not in dict(both.defaults().options)


def test_parameters_are_ours_by_other_names() -> None:
    told = read(
        "FROM x\nPARAMETER num_ctx 512\nPARAMETER num_thread 2\nPARAMETER num_predict 7\n"
        "PARAMETER min_p 1e-2\n"
        "PARAMETER mirostat 0\nPARAMETER num_gpu 99\nPARAMETER tfs_z 1\nPARAMETER dry_multiplier .5"
    )
    assert dict(told.defaults().loading) == {"context_length": 512, "threads": 2}
    assert dict(told.defaults().options) == {"max_tokens": 7, "min_p": 0.01, "dry_multiplier": 0.5}
    assert told.without_effect == ["num_gpu"]


GO = (
    "{{ .Prompt }}",
    "{{- if .System }}x{{ end }}",
    "{{range .Messages}}{{.Content}}{{end}}",
    "{{ $l := 1 }} messages",
)


@pytest.mark.parametrize("go", GO)
def test_what_is_for_ollama_alone_is_left_out_and_told(go: str) -> None:
    told = read(f'FROM x\nTEMPLATE """{go}"""\nRENDERER qwen3\nPARSER qwen3\nREQUIRES 0.14.0\nSYSTEM s')
    assert (told, told.has_go_template) == (Modelfile("x", system="s"), True)
    assert [remark.split()[0] for remark in told.remarks] == ["TEMPLATE", "RENDERER", "PARSER", "REQUIRES"]


WRONG: list[tuple[str | bytes, str, str]] = [
    ("", "Modelfile has no FROM", "FROM qwen3:4b"),
    ("SYSTEM x", "has no FROM", ""),
    ("FROM", "line 1: it has no value", '""'),
    ("FROM x\nFROM y", "line 2: a second FROM", "first"),
    ("\n\nFORM x", "line 3: 'FORM' is no instruction", "did you mean FROM"),
    ("FROM x\nSYSTEM two\nlines", "line 3: 'lines' is no instruction", '"""'),
    ("FROM x\nADAPTER ./lora.gguf", "line 2: ADAPTER is not supported", "merge"),
    ('FROM x\nSYSTEM """\na\nb', 'line 2: the text that begins here has no end, which is """', ""),
    ('FROM x\nSYSTEM "a\nb', 'line 2: the text that begins here has no end, which is "', ""),
    ("FROM x\nPARAMETER temprature 1", "line 2: 'temprature' is not a parameter", "did you mean temperature"),
    ("FROM x\nPARAMETER max_tokens 1", "'max_tokens' is not a parameter", "did you mean num_predict"),
    ("FROM x\nPARAMETER temperature", "line 2: it has no value", ""),
    ("FROM x\nPARAMETER temperature hot", "temperature must be a number, not 'hot'", ""),
    (
        "FROM x\nPARAMETER temperature -1",
        "line 2: temperature must be a number from 0.0 to 100.0, not -1",
        "",
    ),
    ("FROM x\nPARAMETER temperature nan", "temperature must be a number", ""),
    ("FROM x\nPARAMETER top_k 1_0", "top_k must be a number, not '1_0'", ""),
    ("FROM x\nPARAMETER top_k 1.5", "top_k must be an integer", ""),
    ("FROM x\nPARAMETER num_ctx 0", "num_ctx must be an integer from 1, not 0", ""),
    ("FROM x\nPARAMETER num_ctx " + "9" * 99, "num_ctx must be an integer", ""),
    ("FROM x\nPARAMETER mirostat 2", "edgeinfer has no mirostat", ""),
    ('FROM x\nPARAMETER stop ""', "an empty text stops nothing", ""),
    ("FROM x\n" + "PARAMETER stop x\n" * 257, "line 258: there may be 256 stops", ""),
    ("FROM x\nMESSAGE bob hi", "'bob' is no role", "system, user, assistant"),
    ("FROM x\nMESSAGE user", "line 2: it has no value", ""),
    ("FROM x\nTEMPLATE ### User:", "does not speak of `messages`", "Jinja"),
    (b"GGUF\x03\0\0\0", "is no text", "edgeinfer import"),
    (b"FROM x\nSYSTEM a\0b", "is no text", ""),
    (b"FROM x\nSYSTEM \xff", "is no text", ""),
    (b"\xff\xfeF", "is no text", ""),
    ("FROM x\n" + "MESSAGE user hi\n" * 2000, "Modelfile has more than 2,000 instructions", ""),
    (b"#" * (MOST_BYTES + 1), "more than 1 MiB", ""),
]


@pytest.mark.parametrize(("text", "message", "hint"), WRONG)
def test_what_is_wrong_is_told_with_its_place(text: str | bytes, message: str, hint: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(text)
    assert message in refused.value.message
    assert refused.value.message.startswith("Modelfile")
    assert hint in (refused.value.hint or "")


def test_a_text_without_an_end_takes_no_longer_than_it_is_long() -> None:
    with pytest.raises(InvalidRequest, match=r"line 2: .* has no end"):
        read(b'FROM x\nSYSTEM """' + b"\n" * (MOST_BYTES - 50))
