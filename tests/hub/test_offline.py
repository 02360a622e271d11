"""With the switch set, or the cable pulled, nothing leaves this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fake_hub import REPO, FakeHub
from stores import in_the_cache

from edgeinfer.errors import Offline
from edgeinfer.hub.pull import plan_pull

COMMAND = (sys.executable, "-P", "-c", "from edgeinfer.cli.main import console; console()")


@pytest.mark.parametrize("variable", ["EDGEINFER_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked(hub: FakeHub, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    for name in (REPO, "qwen3:4b", f"{hub.files_url}/{REPO}/resolve/main/random-Q8_0.gguf"):
        with pytest.raises(Offline):
            plan_pull(name)
    assert (hub.asked, hub.fetched) == ([], [])


@pytest.mark.parametrize("line", [("--offline", "pull", REPO), ("pull", "--offline", REPO)])
def test_the_option_stands_anywhere(hub: FakeHub, line: tuple[str, ...]) -> None:
    done = subprocess.run([*COMMAND, *line], capture_output=True, text=True)
    assert (done.returncode, done.stderr.startswith("error: offline:")) == (5, True)
    assert (hub.asked, hub.fetched) == ([], [])


def test_offline_a_model_that_is_here_is_as_good_as_pulled(home: Path, random_model: Path) -> None:
    cached = in_the_cache(home, "a/b", "b-Q8_0.gguf", random_model)
    done = subprocess.run([*COMMAND, "pull", "a/b:q8_0", "--offline"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{cached}\n")
    done = subprocess.run([*COMMAND, "pull", "a/c", "--offline"], capture_output=True, text=True)
    assert (done.returncode, "offline" in done.stderr) == (5, True)


ATTEMPTS = """
import socket, sys, urllib.request, httpx2
from edgeinfer.errors import Offline
from edgeinfer.hub.offline import forbid_connections
forbid_connections()
attempts = [
    lambda: socket.create_connection(("192.0.2.1", 80), 1),
    lambda: socket.create_connection(("2001:db8::1", 80), 1),
    lambda: socket.getaddrinfo("example.com", 80),
    lambda: socket.gethostbyname("example.com"),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
    lambda: urllib.request.urlopen("http://192.0.2.1/", timeout=1),
    lambda: httpx2.get("http://192.0.2.1/", timeout=1),
]
for attempt in attempts:
    try:
        attempt()
    except Offline:
        print("refused")
print(urllib.request.urlopen(sys.argv[1]).status)
"""


def test_offline_no_library_of_the_process_reaches_another_machine(hub: FakeHub) -> None:
    """A server on this machine may still be asked: bench starts some."""
    url = f"{hub.files_url}/{REPO}/resolve/main/README.md"
    command = [sys.executable, "-P", "-c", ATTEMPTS, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["refused"] * 7 + ["200"], done.stderr


ISOLATED = ("unshare", "--user", "--map-root-user", "--net")


@pytest.fixture
def isolated() -> tuple[str, ...]:
    """What runs a command where there are no network interfaces."""
    if subprocess.run([*ISOLATED, "true"], capture_output=True).returncode:
        pytest.skip("needs a network namespace")
    return ISOLATED


def test_without_any_network_models_are_found_and_run(
    home: Path, random_model: Path, isolated: tuple[str, ...], tmp_path: Path
) -> None:
    in_the_cache(home, "a/b", "b-Q8_0.gguf", random_model)
    bundled = str(tmp_path / "b.tar")
    for line in (
        ("list",),
        ("run", "a/b", "hi", "-n", "2"),
        ("show", "a/b"),
        ("fit", "a/b"),
        ("bundle", "create", "a/b", "edgeinfer-nano", "-o", bundled),
        ("bundle", "verify", bundled),
        ("bundle", "install", bundled),
        ("run", "a/b", "hi", "-n", "2"),
    ):
        done = subprocess.run([*isolated, *COMMAND, *line], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), line
    talk = [*isolated, *COMMAND, "chat", "a/b", "--plain", "-n", "2"]
    done = subprocess.run(talk, input="hi\n/bye\n", capture_output=True, text=True)
    assert (done.returncode, bool(done.stdout.strip())) == (0, True), done.stderr
    done = subprocess.run([*isolated, *COMMAND, "pull", "a/b"], capture_output=True, text=True)
    assert (done.returncode, "is this machine connected?" in done.stderr) == (5, True)


SERVED = """
ip link set lo up 2>/dev/null || "$0" -c 'import fcntl, socket, struct
ask = struct.pack("16sH14s", b"lo", 1, b"")
fcntl.ioctl(socket.socket(), 0x8914, ask)'
"$0" -P -c "from edgeinfer.cli.main import console; console()" serve "$1" --offline --port 8123 &
"$0" -c 'import http.client, json, time
body = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2})
for _ in range(200):
    try:
        asked = http.client.HTTPConnection("127.0.0.1", 8123, timeout=30)
        asked.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        print(json.load(asked.getresponse())["usage"]["completion_tokens"])
        break
    except OSError:
        time.sleep(0.1)'
kill $!
wait $!
"""


def test_without_any_network_a_model_is_served(
    home: Path, random_model: Path, isolated: tuple[str, ...]
) -> None:
    """But for the loopback, which is no way out."""
    in_the_cache(home, "a/b", "b-Q8_0.gguf", random_model)
    command = [*isolated, "sh", "-c", SERVED, sys.executable, "a/b"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split()[-1:] in (["1"], ["2"]), done.stderr


def test_run_and_list_make_no_connection(home: Path, random_model: Path, tmp_path: Path) -> None:
    in_the_cache(home, "a/b", "b-Q8_0.gguf", random_model)
    log = tmp_path / "strace"
    traced = ["strace", "-f", "-o", str(log), "-e", "trace=connect,sendto,sendmsg"]
    try:
        subprocess.run([*traced, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs strace")
    bundled = str(tmp_path / "b.tar")
    for line in (
        ("list",),
        ("run", "a/b", "hi", "-n", "2"),
        ("bundle", "create", "a/b", "-o", bundled),
        ("bundle", "install", bundled),
    ):
        subprocess.run([*traced, *COMMAND, *line], check=True, capture_output=True)
        assert "AF_INET" not in log.read_text()
