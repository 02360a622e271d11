"""A server on a Unix socket: real clients speak with it, and nobody else's file is touched."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from installed import COMMAND
from serving import eventually

from edgeinfer.errors import PortTaken
from edgeinfer.server.listener import listening

CHAT: list[Any] = [{"role": "user", "content": "hi"}]
LISTEN = "import sys; from edgeinfer.server.listener import listening\nwith listening(sys.argv[1], 0): "


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A path that is short enough wherever the tests run."""
    monkeypatch.chdir(tmp_path)
    return "unix:s.sock"


def answers(place: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place))
        return True
    return False


def test_real_clients_speak_over_it(place: str, random_model: Path) -> None:
    path = Path("s.sock")
    line = [*COMMAND, "serve", str(random_model), "--host", place, "-c", "256", "--offline"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert f"on {place}," in server.stderr.readline()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            transport = httpx2.HTTPTransport(uds=str(path))
            with httpx2.Client(transport=transport, base_url="http://localhost") as http:
                assert http.get("/v1/models").json()["data"][0]["id"] == "random"
                client = openai.OpenAI(base_url="http://localhost/v1", api_key="any", http_client=http)
                parts = client.chat.completions.create(
                    model="random", messages=CHAT, max_tokens=3, stream=True
                )
                assert [part.choices[0].finish_reason for part in parts][-1] in ("stop", "length")
            line = [*COMMAND, "chat", "--plain", "--offline", "--connect", place, "-n", "2"]
            chat = subprocess.run(line, input="hi\n", capture_output=True, text=True)
            assert (chat.returncode, bool(chat.stdout.strip())) == (0, True), chat.stderr
            told = subprocess.run([*COMMAND, "ps", "--url", place], capture_output=True, text=True)
            assert "random" in told.stdout, told.stderr
            assert subprocess.run([*COMMAND, "stop", "random", "--url", place]).returncode == 0
            if shutil.which("curl"):
                asked = ["curl", "-sS", "--fail", "--unix-socket", str(path), "http://localhost/health"]
                assert subprocess.run(asked, capture_output=True).returncode == 0
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
            assert not path.exists()
        finally:
            server.kill()


def test_the_file_of_a_killed_server_is_taken_over(place: str) -> None:
    killed = "import os; os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-P", "-c", LISTEN + killed, place]).returncode == -signal.SIGKILL
    path = Path("s.sock")
    assert (path.is_socket(), answers(path)) == (True, False)
    with listening(place, 0):
        assert answers(path)
        with pytest.raises(PortTaken, match="another server"), listening(place, 0):
            pass
        assert answers(path)
    assert not path.exists()


def test_of_servers_that_start_at_once_one_listens(place: str) -> None:
    with listening(place, 0):
        os.link("s.sock", "left")  # as a kill would leave it
    os.rename("left", "s.sock")
    code = LISTEN + "print('listens', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-P", "-c", code, place], **pipes) for _ in range(6)]
    eventually(lambda: sum(process.poll() is not None for process in started) == 5)
    assert answers(Path("s.sock"))
    told = [process.communicate("")[0] for process in started]
    assert sorted(told) == [""] * 5 + ["listens\n"]
    assert not Path("s.sock").exists()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("elsewhere")])
def test_what_is_no_socket_is_left_alone(place: str, make: Callable[[Path], None]) -> None:
    path = Path("s.sock")
    make(path)
    before = path.lstat()
    with pytest.raises(PortTaken, match="is no socket"), listening(place, 0):
        pass
    assert os.path.samestat(path.lstat(), before)


def test_a_file_that_took_the_place_is_left_alone(place: str) -> None:
    path = Path("s.sock")
    with listening(place, 0):
        path.unlink()
        path.touch()
    assert path.is_file()


@pytest.mark.parametrize(("host", "why"), [("unix:" + "x" * 200, "too long"), ("nowhere/s.sock", "No such")])
def test_where_nobody_can_listen_is_told(place: str, host: str, why: str) -> None:
    with pytest.raises(PortTaken, match=why), listening(host, 0):
        pass
