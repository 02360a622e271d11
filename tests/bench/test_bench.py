"""`edgeinfer bench` as scripts and people use it; no figure of a machine decides."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeinfer.models import load_spec

from edgeinfer import _native
from edgeinfer.bench.work import Work, work_of

Run = Callable[..., "tuple[int, str, str]"]
QUICK = ("-r", "1", "-t", "1", "--prefill", "8", "--depth", "0,8", "--batch", "1,3", "--verify", "4")


def measured(run: Run, *line: str) -> dict[str, Any]:
    code, out, err = run("bench", "model", *line, "--json", "-")
    assert code == 0, err
    return dict(json.loads(out))


def test_model_measures_everything_asked_for(edgeinfer_command: Run, random_model: Path) -> None:
    report = measured(edgeinfer_command, str(random_model), *QUICK, "-t", "1,2")
    names = ["prefill-8", "decode@0", "decode@8", "batch-1", "batch-3", "verify-4"]
    assert [(r["threads"], r["measure"]) for r in report["rows"]] == [(t, n) for t in (1, 2) for n in names]
    for row in report["rows"]:
        assert row["ours"]["least"] <= row["ours"]["tokens_per_s"] <= row["ours"]["most"]
        assert row["ms_per_step"] > 0
        assert row["peer"] is None
        assert row["ratio"] is None
    assert {"steal_percent", "load_before"} <= report["disturbance"].keys()


def test_model_tells_where_the_time_goes(edgeinfer_command: Run, random_model: Path) -> None:
    report = measured(edgeinfer_command, str(random_model), *QUICK, "--profile-layers")
    spec = load_spec(_native.gguf_open(str(random_model)))
    decode = [row for row in report["profile"] if row["measure"] == "decode@0"]
    layers = {row["layer"] for row in decode if row["operation"] == "qkv"}
    assert layers == set(range(spec.n_layers))
    assert {"embed", "attend", "gate up", "down", "head"} <= {row["operation"] for row in decode}


@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python is not installed")
def test_model_compares_with_llama_cpp_in_the_same_run(edgeinfer_command: Run, random_model: Path) -> None:
    report = measured(edgeinfer_command, str(random_model), *QUICK, "--against", "llamacpp")
    for row in report["rows"]:
        assert row["ratio"] == pytest.approx(row["ours"]["tokens_per_s"] / row["peer"]["tokens_per_s"])


def test_tables_go_to_a_file_too(edgeinfer_command: Run, random_model: Path, tmp_path: Path) -> None:
    to = tmp_path / "bench.md"
    code, out, _ = edgeinfer_command("bench", "model", str(random_model), *QUICK, "--markdown", str(to))
    assert code == 0
    assert to.read_text() == out
    assert out.count("\n| decode@") == 2


def test_limits_grow_to_the_threads_asked_for(edgeinfer_command: Run) -> None:
    code, out, err = edgeinfer_command("bench", "limits", "-t", "1,2", "-r", "1", "--json", "-")
    assert code == 0, err
    limits = json.loads(out)["limits"]
    assert [x["threads"] for x in limits] == [1, 2]
    assert all(x[k] > 0 for x in limits for k in ("read_gb_s", "float_gflops", "int8_gops", "barrier_us"))


def test_kernels_measures_each_form_of_a_type(edgeinfer_command: Run) -> None:
    target = _native.targets()[-1]
    line = ("bench", "kernels", "--types", "Q4_K", "--targets", target, "--json", "-")
    code, out, err = edgeinfer_command(*line)
    assert code == 0, err
    kernels = json.loads(out)["kernels"]
    assert {(k["type"], k["target"]) for k in kernels} == {("Q4_K", target)}
    assert {k["form"] for k in kernels} == {"direct", "prefill"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("model", "no-such.gguf"), "no-such.gguf"),
        (("model", "--depth", "0,x"), "not a list of numbers"),
        (("model", "--batch", "0"), "0 is not a number of anything to measure"),
        (("model", "--against", "no-such-program", "--prefill", "8"), "llamacpp"),
        (
            ("model", "--against", "llamacpp", "--against-python", "no-such-python"),
            "cannot run no-such-python",
        ),
        (("kernels", "--types", "Q9_Z"), "there is no tensor type 'Q9_Z'"),
        (("limits", "--json", "no/such/folder.json", "-t", "1", "-r", "1"), "cannot write"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    edgeinfer_command: Run, line: tuple[str, ...], words: str
) -> None:
    code, _, err = edgeinfer_command("bench", *line)
    assert code not in (0, 1)
    assert words in err
    assert "Traceback" not in err


def test_a_peer_that_cannot_start_says_why(edgeinfer_command: Run, tmp_path: Path) -> None:
    program = tmp_path / "llama-bench"
    program.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    program.chmod(0o755)
    code, _, err = edgeinfer_command("bench", "model", *QUICK, "--against", str(program))
    assert code == 1
    assert "out of luck" in err


def test_work_counts_what_a_token_reads(random_model: Path) -> None:
    file = _native.gguf_open(str(random_model))
    spec = load_spec(file)
    work = work_of(file, spec)
    assert isinstance(work, Work)
    matrices = [t for t in file.tensors() if len(t["shape"]) > 1]
    untied = 0 if spec.tied_output else file.tensor("token_embd.weight")["bytes"]
    assert work.bytes_per_step == sum(t["bytes"] for t in matrices) - untied
    assert work.kv_bytes_per_token == 2 * spec.n_layers * spec.n_kv_heads * spec.head_dim * 2


def test_streams_serves_every_load(edgeinfer_command: Run, random_model: Path) -> None:
    line = ("bench", "streams", str(random_model), "-r", "2", "-t", "1", "--streams", "1,3")
    code, out, err = edgeinfer_command(*line, "--prompt", "40", "--answer", "5", "--json", "-")
    assert code == 0, err
    report = json.loads(out)
    assert [(row["streams"], row["prompt"], row["answer"]) for row in report["rows"]] == [
        (1, 40, 5),
        (3, 40, 5),
    ]
    for row in report["rows"]:
        assert row["ours"]["tokens_per_s"] > 0
        assert 0 < row["ours"]["first_token_s"] <= max(row["ours"]["all_s"])
        assert row["ratio"] is None


def test_beside_measures_an_answer_and_a_prompt(edgeinfer_command: Run, random_model: Path) -> None:
    line = ("bench", "beside", str(random_model), "-r", "1", "-t", "1", "--prompt", "300", "--json", "-")
    code, out, err = edgeinfer_command(*line)
    assert code == 0, err
    row = json.loads(out)["rows"][0]
    assert 0 < row["lone_p50"] <= row["lone_p99"]
    assert 0 < row["beside_p50"] <= row["beside_p99"]
    assert row["stretch"] == row["beside_p99"] / row["lone_p99"]
    assert row["slowdown"] == row["prompt_beside_s"] / row["prompt_alone_s"]


def test_streams_refuses_a_peer_that_is_no_program(edgeinfer_command: Run, random_model: Path) -> None:
    line = ("bench", "streams", str(random_model), "--streams", "1")
    code, _, err = edgeinfer_command(*line, "--against", str(random_model))
    assert (code, "is not a program" in err) == (2, True)
    code, _, err = edgeinfer_command(*line, "--prompt", "4", "--answer", "1", "--against", "/bin/false")
    assert (code, "false ended with 1" in err) == (1, True)


def test_http_reads_the_same_streams_over_the_port(edgeinfer_command: Run, random_model: Path) -> None:
    line = ("http", str(random_model), "-r", "2", "-t", "1", "--streams", "3", "--answer", "20")
    code, out, err = edgeinfer_command("bench", *line, "--json", "-")
    assert code == 0, err
    report = json.loads(out)
    assert (report["streams"], report["answer"]) == (3, 20)
    assert len(report["in_process_s"]) == len(report["over_http_s"]) == 2
    assert all(seconds > 0 for seconds in report["in_process_s"] + report["over_http_s"])


def test_chat_presses_keys_and_sees_them(edgeinfer_command: Run, random_model: Path) -> None:
    code, out, err = edgeinfer_command(
        "bench", "chat", str(random_model), "-r", "1", "--keys", "3", "--json", "-"
    )
    assert code == 0, err
    report = json.loads(out)
    assert len(report["starts_s"]) == 1
    assert len(report["idle_s"]) == len(report["answering_s"]) == 3
    assert report["answering_p99_ms"] == 1e3 * max(report["answering_s"]) > 0
    assert report["tokens_per_s"] > 0
