"""The command as a process: signals, closed pipes, help."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from installed import COMMAND

from edgeinfer.cli.main import COMMANDS

HELP = Path(__file__).parent / "help"


@contextmanager
def started(*args: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*COMMAND, *args], **{**pipes, **options}) as process:
        try:
            yield process
        finally:
            process.kill()


def test_ctrl_c_during_an_answer_exits_130_without_a_traceback(random_model: Path) -> None:
    forbid_ends = [o for i in range(3) for o in ("--logit-bias", f"{i}=-inf")]
    line = ("run", str(random_model), "hello", "-n", "100000", "-c", "512", *forbid_ends)
    with started(*line) as process:
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err.strip() == b""
    assert process.returncode in (130, 0)  # 0: it was faster than the signal


def test_a_file_goes_below_the_prompt_unless_a_loop_reads_it(random_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("first\nsecond\n")
    ask = [*COMMAND, "run", str(random_model), "Sum up", "-n", "1", "--json"]

    def n_read(script: str, *more: str) -> list[int]:
        shell = ["sh", "-c", script, str(file), *ask, *more]
        told = subprocess.run(shell, capture_output=True, text=True, check=True).stdout
        return [json.loads(line)["prompt_tokens"] for line in told.splitlines()]

    [alone], [with_file] = n_read('"$@" < /dev/null'), n_read('cat "$0" | "$@"', "-")
    assert with_file > alone
    assert n_read('"$@" < "$0"') == [with_file]
    assert n_read('while read line; do "$@"; done < "$0"') == [alone, alone]


def test_serve_answers_on_its_port_until_ctrl_c(random_model: Path) -> None:
    line = ("serve", str(random_model), "--port", "0", "-c", "512", "--log-level", "warning")
    with started(*line) as process:
        told = process.stderr.readline().decode()
        address = told.split("http://")[1].split("/")[0]
        with urllib.request.urlopen(f"http://{address}/v1/models", timeout=30) as response:
            assert json.load(response)["data"][0]["id"] == "random"
        code = subprocess.run(
            [*COMMAND, "serve", str(random_model), "--port", address.split(":")[1]], capture_output=True
        )
        assert (code.returncode, b"cannot listen" in code.stderr) == (7, True)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert process.stderr.read().strip() == b""


def test_a_server_ends_when_a_model_that_it_names_cannot_open(random_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(random_model.read_bytes()[:5000])
    with started("serve", str(random_model), str(broken), "--port", "0") as process:
        assert process.wait(timeout=30) == 3
        assert b"broken.gguf" in process.stderr.read()


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("missing.gguf",), 9, b"no model is called"),
        (("edgeinfer-tiny", "edgeinfer-tiny"), 2, b"same name"),
        (("--keep-alive", "soon"), 2, b"--keep-alive must be a duration"),
    ],
)
def test_a_server_that_cannot_begin_says_why(options: tuple[str, ...], code: int, told: bytes) -> None:
    done = subprocess.run([*COMMAND, "serve", "--port", "0", *options], capture_output=True, timeout=30)
    assert (done.returncode, told in done.stderr) == (code, True)


def test_a_closed_pipe_is_no_error(random_model: Path) -> None:
    with started("run", str(random_model), "hello", "-n", "400", "-c", "512") as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("redirected", "code", "told"),
    [
        (">&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        (">/dev/full", 6, "error: cannot write to standard output: No space left on device"),
        ("2>/dev/full", 0, ""),
    ],
)
@pytest.mark.parametrize("command", ["config", "tokenize -m edgeinfer-nano hello"])
def test_streams_that_cannot_be_written_make_no_traceback(
    command: str, redirected: str, code: int, told: str
) -> None:
    line = f'"$@" {command} {redirected}'
    done = subprocess.run(["bash", "-c", line, "bash", *COMMAND], capture_output=True, text=True)
    assert done.returncode == code
    assert [row for row in done.stderr.splitlines() if not row.startswith("the file")] == [told][: told != ""]


def test_a_pipe_that_lacks_characters_gets_escapes(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "XDG_DATA_HOME": str(tmp_path)}
    recipe = "FROM edgeinfer-nano\nSYSTEM Grüße 😀"

    def told(*line: str) -> str:
        done = subprocess.run(
            [*COMMAND, *line], input=recipe.encode(), env=environment, stdout=subprocess.PIPE, check=True
        )
        return done.stdout.decode("ascii")

    told("create", "polite", "-f", "-")
    assert r"SYSTEM Gr\xfc\xdfe \U0001f600" in told("show", "polite", "--modelfile")
    assert json.loads(told("show", "polite", "--json"))["told"]["system"] == "Grüße 😀"


def test_standard_input_that_never_ends_is_not_read_when_there_is_a_prompt(random_model: Path) -> None:
    reading, writing = os.pipe()
    with started("run", str(random_model), "hello", "-n", "2", stdin=reading) as process:
        assert process.wait(timeout=30) == 0
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_as_committed(command: str) -> None:
    """After a wanted change: WRITE_HELP=1 pytest tests/cli"""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    write = environment.pop("WRITE_HELP", None)
    done = subprocess.run(
        [*COMMAND, *([command] if command else []), "--help"], capture_output=True, text=True, env=environment
    )
    snapshot = HELP / f"{command or 'edgeinfer'}.txt"
    if write:
        HELP.mkdir(exist_ok=True)
        snapshot.write_text(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == snapshot.read_text()


def test_ctrl_c_in_a_conversation_stops_the_answer_and_not_the_conversation(random_model: Path) -> None:
    terminal, other_end = pty.openpty()
    line = ("chat", str(random_model), "--plain", "-c", "512", "--temperature", "2")
    with started(*line, stdin=other_end, stdout=other_end, stderr=other_end) as process:
        os.close(other_end)
        until(terminal, b">>> ")
        os.write(terminal, b"hello\n")
        until(terminal, b"hello\r\n")
        process.send_signal(signal.SIGINT)
        until(terminal, b">>> ")
        os.write(terminal, b"/bye\n")
        assert process.wait(timeout=30) == 0
    os.close(terminal)


def until(terminal: int, text: bytes) -> None:
    """Read what the program shows until this text is there."""
    shown = b""
    while text not in shown:
        shown += os.read(terminal, 4096)
