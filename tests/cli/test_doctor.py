"""`edgeinfer doctor`: what it finds is so, and what is wrong comes with advice."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pulling import edgeinfer

from edgeinfer import _native, machine
from edgeinfer.bench import speed
from edgeinfer.bench.speed import Speed
from edgeinfer.cli import findings
from edgeinfer.machine import Cores, Memory

Run = Callable[..., "tuple[int, str, str]"]
Facts = Callable[[], dict[str, Any]]


@pytest.fixture
def facts(edgeinfer_command: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Facts:
    """What doctor finds, on a port that nobody else has, with folders of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("EDGEINFER_SERVE_PORT", str(free.getsockname()[1]))
    monkeypatch.setattr(speed, "_SECONDS", 0.001)  # what is asked is whether it is measured
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_OFFLINE", "EDGEINFER_TARGET"):
        monkeypatch.delenv(name, raising=False)

    def find() -> dict[str, Any]:
        code, out, err = edgeinfer_command("doctor", "--json")
        assert (code, err) == (0, "")
        return dict(json.loads(out))

    return find


def about(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """Of a finding, whatever port it is about."""
    return dict(next(found for key, found in facts.items() if key.startswith(name)))


def test_it_tells_what_it_sees(facts: Facts, edgeinfer_command: Run, tmp_path: Path) -> None:
    found = facts()
    assert int(found["threads"]["value"]) == machine.n_threads()
    assert found["kernels"]["value"].startswith(_native.target())
    assert found["folder of caches"]["value"].startswith(str(tmp_path))
    assert about(found, "port")["value"] == "free"
    assert "GB/s" in found["memory bandwidth"]["value"]
    stored = speed.stored_speed()
    assert stored is not None
    assert found == facts() | {name: found[name] for name in ("memory", "folder of caches")}
    assert found["memory bandwidth"]["value"].startswith(f"{stored.read_bytes_per_s / 1e9:.0f} ")
    table = edgeinfer_command("doctor")[1]
    assert all(name in table for name in found)


def test_what_is_wrong_comes_with_advice(
    facts: Facts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = Speed(4, 1e9, {}, {})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(speed, "machine_speed", lambda: slow)
    monkeypatch.setattr(machine, "memory", lambda: Memory(1 << 30, 1 << 20))
    monkeypatch.setattr(machine, "cores", lambda *root: Cores(8, 4, 2))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    found = facts()
    for name in ("memory", "memory bandwidth", "cores", "folder of models", "folder of downloads"):
        assert found[name]["advice"], name
    assert found["cores"]["value"] == "8 performance, 4 efficiency"


class _Stranger(BaseHTTPRequestHandler):
    server_version, sys_version = "stranger/1", ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        if self.server.server_name == "edgeinfer":
            self.wfile.write(b'{"version": "1", "server": "edgeinfer 0.1.0"}')

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def server(facts: Facts) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", int(os.environ["EDGEINFER_SERVE_PORT"])), _Stranger) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield listening
        listening.shutdown()


def test_who_has_the_port_is_told(facts: Facts, server: ThreadingHTTPServer) -> None:
    found = about(facts(), "port")
    assert ("stranger/1" in found["value"], "--port" in found["advice"]) == (True, True)
    server.server_name = "edgeinfer"
    found = about(facts(), "port")
    assert ("edgeinfer 0.1.0 answers" in found["value"], found["advice"]) == (True, None)


def test_a_program_that_says_nothing_has_the_port(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "_ANSWER_S", 0.1)
    with socket.create_server(("127.0.0.1", int(os.environ["EDGEINFER_SERVE_PORT"]))):
        assert "another program" in about(facts(), "port")["value"]


ELSEWHERE = """
import platform, sys
platform.machine = lambda: "another"
from edgeinfer.cli.main import main
main(sys.argv[1:])
"""


def test_offline_is_proved(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes of their own: what is forbidden stays so."""
    line = ("doctor", "--json", "--offline")
    found = json.loads(edgeinfer(*line).stdout)["network"]
    if sys.platform == "linux":
        assert ("the kernel sockets to native code" in found["value"], found["advice"]) == (True, None)
    done = subprocess.run([sys.executable, "-P", "-c", ELSEWHERE, *line], capture_output=True, text=True)
    found = json.loads(done.stdout)["network"]
    assert ("not for native code" in found["value"], "--network none" in found["advice"]) == (True, True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "EDGEINFER_OFFLINE=1" in facts()["network"]["advice"]
