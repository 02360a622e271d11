"""`edgeinfer batch`: OpenAI's format in and out, as the command that people run."""

from __future__ import annotations

import json
import os
import pty
import random
import resource
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from installed import COMMAND
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

import edgeinfer

Run = Callable[..., "tuple[int, str, str]"]
Record = dict[str, Any]
USER = {"role": "user", "content": "How do I download a model?"}


def chat(custom_id: str, **body: object) -> Record:
    body = {"model": "any", "messages": [USER], "max_tokens": 6, **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def completion(custom_id: str, **body: object) -> Record:
    body = {"model": "any", "prompt": "def f", "max_tokens": 6, **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/completions", "body": body}


def text_of(requests: list[Record | str]) -> str:
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in requests)


def records(out: Path) -> list[Record]:
    return [json.loads(line) for line in out.read_bytes().splitlines()]


def answers(out: Path) -> dict[str, Any]:
    """custom_id -> what was answered, without what is of the moment."""
    found = {}
    for record in records(out):
        body = record["response"]["body"]
        found[record["custom_id"]] = (record["id"], body.get("choices"), body.get("error"))
    return found


class Batch:
    """A folder with an input and an output file."""

    def __init__(self, folder: Path, command: Run) -> None:
        self.input, self.out = folder / "in.jsonl", folder / "out.jsonl"
        self._command = command

    @property
    def line(self) -> list[str]:
        return ["batch", str(self.input), "-o", str(self.out), "-t", "1", "-c", "512"]

    def run(self, *requests: Record | str, options: tuple[str, ...] = ()) -> tuple[int, str, str]:
        if requests:
            self.input.write_text(text_of(list(requests)))
        return self._command(*self.line, *options)

    def started(self, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen([*COMMAND, *self.line], stderr=subprocess.PIPE, text=True, **options)

    def until(self, process: subprocess.Popen[str], n_lines: int) -> None:
        """Wait until so many lines are written, or the process has ended."""
        while process.poll() is None:
            if self.out.exists() and self.out.read_bytes().count(b"\n") >= n_lines:
                return
            time.sleep(0.002)

    def failure(self, request: Record | str) -> tuple[int, Record]:
        """(status, error) of a batch of one line."""
        self.out.unlink(missing_ok=True)
        assert self.run(request)[0] == 1
        (record,) = records(self.out)
        return record["response"]["status_code"], record["response"]["body"]["error"]


@pytest.fixture
def batch(tmp_path: Path, edgeinfer_command: Run, monkeypatch: pytest.MonkeyPatch) -> Batch:
    # the niceness of this process could not be taken back
    monkeypatch.setattr("edgeinfer.machine.lower_priority", lambda: None)
    return Batch(tmp_path, edgeinfer_command)


def many(n: int) -> list[Record]:
    return [
        chat(f"r{i}", messages=[{"role": "user", "content": f"What is {i} and {i}?"}], max_tokens=3 + i % 5)
        for i in range(n)
    ]


def test_records_are_what_openai_writes_and_its_types_read(batch: Batch) -> None:
    code, out, err = batch.run(
        chat("chat", logprobs=True, n=2, stop=["zzz"], logit_bias={"5": -100}, presence_penalty=0.5),
        completion("text", prompt=["def f", "import"], logprobs=0, top_p=0.9, frequency_penalty=0.1),
    )
    assert (code, out) == (0, "")
    assert err.startswith("2 answered, 0 kept from before, 0 failed; ")
    for record in records(batch.out):
        assert set(record) == {"id", "custom_id", "response", "error"}
        assert record["id"].startswith("batch_req_")
        assert record["error"] is None
        assert set(record["response"]) == {"status_code", "request_id", "body"}
        assert record["response"]["status_code"] == 200
    bodies = {r["custom_id"]: r["response"]["body"] for r in records(batch.out)}
    chatted = ChatCompletion.model_validate(bodies["chat"], strict=True)
    texts = Completion.model_validate(bodies["text"], strict=True)
    assert (len(chatted.choices), len(texts.choices)) == (2, 2)
    assert chatted.usage is not None
    assert chatted.usage.completion_tokens == 12
    # nothing that the types do not know, and nothing that they had to change
    assert chatted.model_dump(exclude_unset=True) == bodies["chat"]
    assert texts.model_dump(exclude_unset=True) == bodies["text"]
    for choice in chatted.choices:
        assert choice.logprobs is not None
        pieces = b"".join(bytes(token.bytes or []) for token in choice.logprobs.content or [])
        assert pieces.decode().strip() == (choice.message.content or "").strip()
    assert texts.choices[0].logprobs is not None
    assert len(texts.choices[0].logprobs.token_logprobs or []) == 6


def test_answers_are_those_of_the_model_alone(batch: Batch) -> None:
    """Sampled ones too, and choice i of n is what seed + i gives."""
    requests = [
        *(chat(f"c{seed}", seed=seed, temperature=1.1, top_p=0.9, n=1 + seed % 2) for seed in range(10)),
        *(completion(f"t{seed}", seed=seed, prompt=f"def f{seed}", top_k=5) for seed in range(10)),
        chat(
            "parts", temperature=0, messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
        ),
        chat("roles", temperature=0, messages=[{"role": "developer", "content": "Be brief."}, USER]),
    ]
    assert batch.run(*requests)[0] == 0
    found = answers(batch.out)
    with edgeinfer.load(threads=1, context_length=512) as model:

        def text(stream: edgeinfer.client.Stream) -> str:
            return "".join(token.text for token in stream)

        for seed in range(10):
            for i, choice in enumerate(found[f"c{seed}"][1]):
                lone = model.chat([USER], max_tokens=6, seed=seed + i, temperature=1.1, top_p=0.9)
                assert choice["message"]["content"] == text(lone)
            lone = model.generate(f"def f{seed}", max_tokens=6, seed=seed, top_k=5)
            assert found[f"t{seed}"][1][0]["text"] == text(lone)
        hi = model.chat([{"role": "user", "content": "Hi"}], max_tokens=6, temperature=0)
        assert found["parts"][1][0]["message"]["content"] == text(hi)
        told = [{"role": "system", "content": "Be brief."}, USER]
        brief = model.chat(told, max_tokens=6, temperature=0)
        assert found["roles"][1][0]["message"]["content"] == text(brief)


def test_a_line_gives_what_run_gives_for_its_seed(batch: Batch, edgeinfer_command: Run) -> None:
    batch.run(chat("one", seed=7, temperature=1.3))
    run = ("run", "-n", "6", "--seed", "7", "--temperature", "1.3", "--json", "-t", "1", "-c", "512")
    said = json.loads(edgeinfer_command(*run, USER["content"])[1])["text"]
    assert answers(batch.out)["one"][1][0]["message"]["content"] == said


def test_requests_without_a_seed_answer_the_same_in_every_run_and_differ_among_each_other(
    batch: Batch,
) -> None:
    requests = [chat(f"r{i}", temperature=2.0, max_tokens=12) for i in range(4)]
    texts = []
    for options in ((), (), ("--seed", "1")):
        batch.out.unlink(missing_ok=True)
        batch.run(*requests, options=options)
        texts.append({k: v[1][0]["message"]["content"] for k, v in answers(batch.out).items()})
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0].values())) > 1


def test_vectors_are_computed_in_a_batch_too(batch: Batch, embedding_model: Path) -> None:
    texts = ["one of the words", "that we know"]
    body = {"model": "any", "input": texts}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/embeddings", "body": body}
    assert batch.run(line, options=("-m", str(embedding_model)))[0] == 0
    (record,) = records(batch.out)
    answer = CreateEmbeddingResponse.model_validate(record["response"]["body"])
    with edgeinfer.load(embedding_model, context_length=512) as model:
        expected = model.embed(texts)
    found = np.array([entry.embedding for entry in answer.data], dtype=np.float32)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("request_line", "param"),
    [
        ("{", None),
        ("[1]", None),
        ("[" * 100_000, None),
        ('{"custom_id": "\\ud800", "method": "POST"}', "url"),
        ({**chat("x"), "custom_id": 5}, "custom_id"),
        ({**chat("x"), "method": "GET"}, "method"),
        ({**chat("x"), "url": "/v1/images"}, "url"),
        ({**chat("x"), "url": "/v1/embeddings"}, "input"),
        ({**chat("x"), "body": []}, "body"),
        (chat("x", messages=[]), "messages"),
        (chat("x", messages=[{"role": "robot", "content": "x"}]), "messages[0].role"),
        (chat("x", messages=[USER, {"role": "user", "content": 5}]), "messages[1].content"),
        (chat("x", messages=[{"role": "user", "content": [{"type": "image_url"}]}]), None),
        (chat("x", temperature="hot"), "temperature"),
        (chat("x", temperature=-1), None),
        (chat("x", top_k="many"), None),
        (chat("x", max_tokens=0), None),
        (chat("x", n=0), "n"),
        (chat("x", stop=5), "stop"),
        (chat("x", logit_bias={"x": 1}), "logit_bias"),
        (chat("x", tools=[{"type": "function"}]), "tools[0].function"),
        (chat("x", top_logprobs=30), "top_logprobs"),
        (chat("x", response_format={"type": "yaml"}), "response_format.type"),
        (completion("x", prompt=5), "prompt"),
        (completion("x", prompt=""), None),
        (completion("x", prompt=[[]]), None),
        (completion("x", prompt=[10**9]), None),
        (completion("x", logprobs=6), "logprobs"),
        (completion("x", prompt="word " * 2000), None),
    ],
)
def test_a_wrong_line_gets_an_error_that_names_what_is_wrong(
    batch: Batch, request_line: Record | str, param: str | None
) -> None:
    status, error = batch.failure(request_line)
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert set(error) >= {"message", "type", "param", "code"}
    assert error["message"]
    if param is not None:
        assert error["param"] == param


def test_wrong_lines_stop_nobody_and_are_tried_again(batch: Batch) -> None:
    lines = [chat("a"), "what?", chat("b", temperature=-1), "", chat("a", seed=1), chat("c")]
    code, _, err = batch.run(*lines)
    assert code == 1
    assert err.startswith("2 answered, 0 kept from before, 3 failed; ")
    assert len(records(batch.out)) == 5
    first = answers(batch.out)
    code, out, _ = batch.run(chat("a"), chat("b", temperature=1), chat("c"), options=("--json",))
    report = json.loads(out)
    assert (code, report["answered"], report["kept"], report["failed"]) == (0, 1, 2, 0)
    assert len(records(batch.out)) == 3
    assert {k: v for k, v in answers(batch.out).items() if k != "b"} == {k: first[k] for k in "ac"}


def test_fields_that_are_unknown_or_ask_for_nothing_are_ignored(batch: Batch) -> None:
    ignored = {"user": "me", "metadata": {"a": 1}, "tools": [], "response_format": {"type": "text"}}
    batch.run(chat("a", seed=1), chat("b", seed=1, model=None, stop=None, **ignored))
    found = answers(batch.out)
    assert found["a"][1] == found["b"][1]


def test_three_hundred_requests_are_answered_once_each(batch: Batch) -> None:
    assert batch.run(*many(300))[0] == 0
    assert len(records(batch.out)) == 300
    assert set(answers(batch.out)) == {f"r{i}" for i in range(300)}


def test_a_run_that_is_killed_goes_on_where_it_stopped(batch: Batch, tmp_path: Path) -> None:
    requests = many(60)
    batch.run(*requests)
    expected = answers(batch.out)
    batch.out.unlink()
    rng = random.Random(11)
    kept = 0
    for _ in range(5):
        process = batch.started()
        batch.until(process, kept + rng.randrange(1, 12))
        process.kill()
        process.communicate()
        now = batch.out.read_bytes().count(b"\n")
        assert now >= kept
        kept = now
    assert batch.run()[0] == 0
    assert answers(batch.out) == expected
    assert len(records(batch.out)) == 60


@pytest.mark.parametrize("torn", ['{"id": "batch_req_12', '{"id"', "\0\0\0"])
def test_half_a_line_at_the_end_is_cut_off(batch: Batch, torn: str) -> None:
    batch.run(*many(5))
    whole = batch.out.read_bytes()
    batch.out.write_bytes(whole + torn.encode())
    assert batch.run()[0] == 0
    assert batch.out.read_bytes() == whole


@pytest.mark.parametrize("torn", ['{"id": "batch_req_12', '{"id"', "\0\0\0", ""])
def test_half_a_line_may_be_the_first(batch: Batch, torn: str) -> None:
    batch.out.write_text(torn)
    assert batch.run(*many(2))[0] == 0
    assert len(records(batch.out)) == 2


def test_a_damaged_record_in_the_middle_is_computed_again(batch: Batch) -> None:
    batch.run(*many(5))
    expected = answers(batch.out)
    lines = batch.out.read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * 20 + lines[2][20:]
    batch.out.write_bytes(b"".join(lines))
    batch.out.chmod(0o640)
    code, out, _ = batch.run(options=("--json",))
    assert (code, json.loads(out)["kept"]) == (0, 4)
    assert answers(batch.out) == expected
    assert batch.out.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in batch.out.parent.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.parametrize("content", ["my notes", "my notes\n", '{"custom_id": "r1"}\n', "\n"])
def test_a_file_that_is_no_output_of_a_batch_is_left_alone(batch: Batch, content: str) -> None:
    batch.out.write_text(content)
    code, _, err = batch.run(*many(1))
    assert code == 2
    assert "not the output of a batch" in err
    assert batch.out.read_text() == content


def test_a_line_that_changed_after_it_was_answered_is_refused(batch: Batch) -> None:
    batch.run(*many(3))
    before = batch.out.read_bytes()
    code, _, err = batch.run(chat("r1", messages=[USER]))
    assert code == 2
    assert "line 1 ('r1')" in err
    assert batch.run(*many(3), options=("--seed", "5"))[0] == 2
    assert batch.out.read_bytes() == before


def test_two_runs_do_not_write_one_file(batch: Batch) -> None:
    batch.input.write_text(text_of(many(400)))
    with batch.started() as process:
        batch.until(process, 1)
        code, _, err = batch.run()
        process.kill()
    assert code == 2
    assert "another edgeinfer batch" in err


def test_ctrl_c_stops_with_what_is_answered_and_tells_how_to_go_on(batch: Batch) -> None:
    requests = many(400)
    batch.input.write_text(text_of(requests))
    with batch.started() as process:
        batch.until(process, 3)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip().startswith("stopped: ")
    assert err.strip().count("\n") == 0
    assert 3 <= len(records(batch.out)) < 400


def test_a_full_disk_is_told_and_nothing_is_lost(batch: Batch) -> None:
    batch.input.write_text(text_of(many(40)))

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    with batch.started(preexec_fn=little_room) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 6
    assert err.startswith("error: cannot write")
    assert "run the same command again" in err
    kept = batch.out.read_bytes().count(b"\n")
    code, out, _ = batch.run(options=("--json",))
    assert (code, json.loads(out)["kept"]) == (0, kept)
    assert len(records(batch.out)) == 40


def test_a_terminal_shows_how_many_are_done(batch: Batch) -> None:
    batch.input.write_text(text_of(many(12)))
    terminal, other_end = pty.openpty()
    termios.tcsetwinsize(other_end, (40, 100))
    shown = b""
    with subprocess.Popen([*COMMAND, *batch.line], stderr=other_end) as process:
        os.close(other_end)
        while b"12 answered" not in shown:
            shown += os.read(terminal, 4096)
        assert process.wait(timeout=60) == 0
    os.close(terminal)
    assert b"12/12" in shown
    assert b"tokens/s" in shown


def test_it_runs_behind_other_processes(batch: Batch) -> None:
    batch.input.write_text(text_of(many(400)))
    with batch.started() as process:
        batch.until(process, 1)
        running = psutil.Process(process.pid)
        niceness = {running.nice()}
        if sys.platform == "linux":  # where each thread has its own
            stats = [Path(f"/proc/{process.pid}/task/{t.id}/stat").read_text() for t in running.threads()]
            niceness |= {int(stat.rpartition(")")[2].split()[16]) for stat in stats}
        process.kill()
    assert niceness == {max(10, os.nice(0))}


@pytest.mark.parametrize(
    ("file", "to", "code"),
    [("nowhere.jsonl", "out.jsonl", 9), ("in.jsonl", "no/out.jsonl", 6), ("in.jsonl", ".", 2)],
)
def test_files_that_cannot_be_read_or_written_are_errors(
    batch: Batch, tmp_path: Path, edgeinfer_command: Run, file: str, to: str, code: int
) -> None:
    batch.input.write_text(text_of(many(1)))
    failed, out, err = edgeinfer_command("batch", str(tmp_path / file), "-o", str(tmp_path / to))
    assert (failed, out, err.startswith("error: ")) == (code, "", True)


def test_an_empty_file_is_answered_at_once(batch: Batch) -> None:
    batch.input.write_text("\n")
    assert batch.run()[0] == 0
    assert batch.out.read_bytes() == b""
