"""`edgeinfer chat --connect` on the command line, line by line."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from installed import COMMAND
from serving import Served, serve

from edgeinfer.keys import Key
from edgeinfer.loading import load_tokenizer
from edgeinfer.server.guard import Rules

Run = Callable[..., Any]
ASKED = "How do I download a model?\n"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve(None, Rules(keys=[Key("secret")]), context_length=512) as server:
        yield server


@pytest.fixture
def keys(tmp_path: Path) -> str:
    (tmp_path / "keys").write_text("# mine\nsecret me\nother\n")
    return str(tmp_path / "keys")


def test_a_server_answers_what_this_process_does(edgeinfer_command: Run, served: Served, keys: str) -> None:
    plain = ("chat", "--plain", "--temperature", "0.9", "--seed", "5")
    at = ("--connect", f"127.0.0.1:{served.port}", "--api-key-file", keys)
    stdin = f"{ASKED}And what then?\n/set\n"
    here, there = edgeinfer_command(*plain, stdin=stdin), edgeinfer_command(*plain, *at, stdin=stdin)
    assert (there.code, there.out) == (0, here.out)
    assert there.err.partition("\n")[2] == here.err.partition("\n")[2]


def test_offline_a_server_of_this_machine_may_answer(served: Served, keys: str) -> None:
    for host, code, told in (("127.0.0.1", 0, ""), ("192.0.2.1", 5, "192.0.2.1")):
        at = ("--connect", f"{host}:{served.port}", "--api-key-file", keys)
        line = [*COMMAND, "--offline", "chat", "--plain", *at]
        done = subprocess.run(line, input=ASKED, capture_output=True, text=True)
        assert (done.returncode, "edgeinfer pull" in done.stdout) == (code, code == 0)
        assert f"offline: {told}" in done.stderr or code == 0


def test_ctrl_c_stops_an_answer_of_a_server(served: Served, keys: str) -> None:
    endless = [o for i in load_tokenizer().eog_ids for o in ("--logit-bias", f"{i}=-inf")]
    at = ("--connect", f"http://127.0.0.1:{served.port}/v1", "--api-key-file", keys)
    line = [*COMMAND, "chat", "--plain", "--context-shift", *endless, *at]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, text=True, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(ASKED)
        process.stdin.flush()
        process.stdout.read(20)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate("/bye\n", timeout=30)
    assert (process.returncode, "Traceback" in told) == (0, False)


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        (("--connect", "--threads", "2", "--kv-type", "q8_0"), 2, "the server decides --threads, --kv-type"),
        (("--connect", "edgeinfer-nano"), 2, "the model comes first: edgeinfer chat edgeinfer-nano"),
        (("--connect", "a b"), 2, "'a b' is no address of a server"),
        (("--connect", "http://me:word@box"), 2, "an address has no user and no password"),
        (("--api-key-file", "keys"), 2, "give --connect too"),
        (("--connect", "127.0.0.1:9", "--api-key-file", "absent"), 6, "cannot read absent"),
        (("--connect", "127.0.0.1:9"), 5, "no server answers at 127.0.0.1:9"),
        (("--connect", "PORT"), 5, "wants an API key"),
        (("nobody", "--connect", "PORT", "--api-key-file", "KEYS"), 9, "no model is called 'nobody' here"),
    ],
)
def test_what_cannot_be_is_told(
    edgeinfer_command: Run, served: Served, keys: str, line: tuple[str, ...], code: int, told: str
) -> None:
    words = {"PORT": f"127.0.0.1:{served.port}", "KEYS": keys}
    result = edgeinfer_command("chat", "--plain", *(words.get(word, word) for word in line))
    assert result.code == code, result.err
    assert told in result.err


def test_where_the_server_of_this_machine_listens_is_set(
    edgeinfer_command: Run, served: Served, keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEINFER_SERVE_PORT", str(served.port))
    monkeypatch.setenv("EDGEINFER_SERVE_HOST", "0.0.0.0")
    monkeypatch.setenv("EDGEINFER_API_KEY", "secret")
    assert "edgeinfer pull" in edgeinfer_command("chat", "--plain", "--connect", stdin=ASKED).out
    assert "edgeinfer-tiny" in edgeinfer_command("ps").out
