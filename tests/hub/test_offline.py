"""With the switch set, or the cable pulled, nothing leaves this machine."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from fake_hub import REPO, FakeHub
from installed import COMMAND
from pulling import edgeinfer
from serving import eventually
from stores import in_the_cache
from terminal import CHAT, Terminal

from edgeinfer.bench.speed import machine_speed
from edgeinfer.errors import Offline
from edgeinfer.hub.pull import plan_pull


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
from edgeinfer.bench.speed import machine_speed
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


SEALED = """
import ctypes, errno, os, socket, subprocess, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
go, libc = threading.Event(), ctypes.CDLL(None, use_errno=True)
calls = {"x86_64": (41, 425, 0x40000029), "aarch64": (198, 425)}[os.uname().machine]
elsewhere = b"\\2\\0\\0\\x50\\xc0\\0\\2\\1" + bytes(8)  # 192.0.2.1:80
def refused(call, *arguments):
    return call(*arguments) == -1 and ctypes.get_errno() == errno.EACCES
def older():
    go.wait()
    assert refused(libc.socket, socket.AF_INET, socket.SOCK_DGRAM, 0), "a thread that was there before"
waiting = threading.Thread(target=older)
waiting.start()
from edgeinfer.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as left:
    assert not left.code, left.code
for family in set(socket.AddressFamily) - {socket.AF_UNIX}:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
        assert refused(libc.socket, int(family), int(kind), 0), family
for call in calls:
    assert refused(libc.syscall, call, 2, 1, 0), call
unix, pair = socket.socket(socket.AF_UNIX), socket.socketpair()
assert refused(libc.connect, unix.fileno(), elsewhere, 16)
assert pair[0].send(b"x") == len(pair[1].recv(1)) == 1
listener.shutdown(socket.SHUT_RDWR)  # as if it had never listened
assert refused(libc.connect, listener.fileno(), elsewhere, 16)
fast_open = 0x20000000
assert refused(libc.sendto, listener.fileno(), b"x", 1, fast_open, elsewhere, 16)
message = (ctypes.c_size_t * 7)(ctypes.addressof(ctypes.create_string_buffer(elsewhere)), 16)
assert refused(libc.sendmsg, listener.fileno(), message, fast_open)
assert refused(libc.sendmmsg, listener.fileno(), message, 1, fast_open)
child = [sys.executable, "-I", "-c", "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"]
told = subprocess.run(child, capture_output=True, text=True, env={})
assert told.stderr.endswith("PermissionError: [Errno 13] Permission denied\\n"), told.stderr
go.set()
waiting.join()
print("sealed")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is one of Linux")
@pytest.mark.parametrize(
    "line",
    [
        ("--offline", "list"),
        ("ls", "--offline"),
        ("bundle", "verify", "FILE"),
        ("chat", "--plain", "--offline"),
    ],
)
def test_offline_no_code_of_the_process_and_no_child_gets_a_socket(
    line: tuple[str, ...], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Native code, other programs, system calls that Python knows nothing of."""
    if line[-1] == "FILE":
        bundled = str(tmp_path / "b.tar")
        subprocess.run([*COMMAND, "bundle", "create", "edgeinfer-nano", "-o", bundled], check=True)
        monkeypatch.setenv("EDGEINFER_OFFLINE", "1")
        line = (*line[:-1], bundled)
    command = [sys.executable, "-P", "-c", SEALED, *line]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("sealed\n"), done.stderr


ISOLATED = ("unshare", "--user", "--map-root-user", "--net")
TRACED = (
    *("strace", "-f", "--seccomp-bpf", "-qq", "-e", "signal=none"),
    *("-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o"),
)


@pytest.fixture
def isolated() -> tuple[str, ...]:
    """What runs a command where there are no network interfaces."""
    if subprocess.run([*ISOLATED, "true"], capture_output=True).returncode:
        pytest.skip("needs a network namespace")
    return ISOLATED


class Watched:
    """Runs commands without interfaces, and sees what they ask of the kernel."""

    def __init__(self, isolated: tuple[str, ...], log: Path) -> None:
        self._log = log
        traced = [*isolated, *TRACED, str(log)]
        self.sees = subprocess.run([*traced, "true"], capture_output=True).returncode == 0
        self.prefix = traced if self.sees else [*isolated]

    def connects(self) -> bool:
        """Whether an address but the loopback was connected or sent to, since the last time."""
        tried = self._log.read_text().splitlines() if self._log.exists() else []
        self._log.unlink(missing_ok=True)
        return any("sa_family" in line and "127.0.0.1" not in line for line in tried)


@pytest.fixture
def watched(isolated: tuple[str, ...], tmp_path: Path) -> Watched:
    return Watched(isolated, tmp_path / "strace")


def test_without_any_network_models_are_found_and_run(
    home: Path, random_model: Path, watched: Watched, tmp_path: Path
) -> None:
    machine_speed()  # here it takes a moment, in a process of its own seconds
    in_the_cache(home, "a/b", "b-Q8_0.gguf", random_model)
    bundled = str(tmp_path / "b.tar")
    for line in (
        ("list",),
        ("run", "a/b", "hi", "-n", "2"),
        ("show", "a/b"),
        ("fit", "a/b"),
        ("bundle", "create", "a/b", "edgeinfer-nano", "-o", bundled, "--json"),
        ("bundle", "verify", bundled),
        ("bundle", "install", bundled),
        ("run", "a/b", "hi", "-n", "2"),
        ("doctor",),
        ("config", "--json"),
    ):
        done = subprocess.run([*watched.prefix, *COMMAND, *line], capture_output=True, text=True)
        assert (done.returncode, done.stderr, watched.connects()) == (0, "", False), line
    talk = [*watched.prefix, *COMMAND, "chat", "a/b", "--plain", "-n", "2"]
    done = subprocess.run(talk, input="hi\n/bye\n", capture_output=True, text=True)
    assert (done.returncode, bool(done.stdout.strip()), watched.connects()) == (0, True, False), done.stderr
    done = subprocess.run([*watched.prefix, *COMMAND, "pull", "a/b"], capture_output=True, text=True)
    assert (done.returncode, "is this machine connected?" in done.stderr) == (5, True)
    assert watched.connects() == watched.sees  # it would have been seen before, too


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not here")
def test_without_any_network_one_chats_in_the_whole_terminal(tmp_path: Path, watched: Watched) -> None:
    terminal = Terminal(tmp_path)
    try:
        terminal.type(f"{shlex.join(watched.prefix)} {CHAT} --temperature 0", "Enter")
        terminal.until(lambda screen: "edgeinfer-tiny" in screen.partition("\n")[0])
        terminal.type("How do I download a model?", "Enter")
        terminal.until(lambda screen: "edgeinfer pull" in screen and "tokens" in screen)
        terminal.type("", "C-q")
        eventually(lambda: "f1 Help" not in terminal.screen())
        assert not watched.connects()
    finally:
        terminal.close()


@pytest.mark.parametrize("offline", [(), ("--offline",)])
def test_without_any_network_a_model_is_served_on_a_unix_socket(
    home: Path,
    random_model: Path,
    watched: Watched,
    offline: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_the_cache(home, "a/b", "b-Q8_0.gguf", random_model)
    monkeypatch.chdir(home)
    place = Path("s.sock")  # short enough for a socket wherever the tests run
    line = [*watched.prefix, *COMMAND, "serve", "a/b", "--host", f"unix:{place}", *offline]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, process_group=0) as server:
        assert server.stderr is not None
        assert str(place) in server.stderr.readline()
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(place)), timeout=30) as client:
            body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
            answer = client.post("http://localhost/v1/chat/completions", json=body)
            assert answer.json()["usage"]["completion_tokens"] in (1, 2)
        os.killpg(server.pid, signal.SIGTERM)  # strace does not pass it on
    assert (server.returncode, watched.connects(), place.exists()) == (0, False, False)


def test_without_a_loopback_the_other_way_to_serve_is_told(isolated: tuple[str, ...]) -> None:
    machine_speed()
    done = subprocess.run([*isolated, *COMMAND, "serve"], capture_output=True, text=True)
    assert (done.returncode, "--host unix:PATH" in done.stderr) == (7, True), done.stderr
    done = subprocess.run([*isolated, *COMMAND, "doctor", "--json"], capture_output=True, text=True)
    assert "--host unix:PATH" in json.loads(done.stdout)["port 8080"]["advice"]


SERVED = """
ip link set lo up 2>/dev/null || "$0" -c 'import fcntl, socket, struct
ask = struct.pack("16sH14s", b"lo", 1, b"")
fcntl.ioctl(socket.socket(), 0x8914, ask)'
"$0" -P -m edgeinfer serve "$1" --offline --port 8123 &
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


THERE = """
tar -xOf "$0" install.sh | sh -s "$0"
edgeinfer/bin/edgeinfer list
edgeinfer/bin/edgeinfer run random hi -n 2
echo hi | edgeinfer/bin/edgeinfer chat random --plain -n 2
"""


@pytest.mark.slow
def test_a_machine_that_has_only_python_gets_all_of_it_from_a_bundle(
    random_model: Path, isolated: tuple[str, ...], tmp_path: Path, repository: Path
) -> None:
    if Path(plan_pull.__code__.co_filename).is_relative_to(repository):
        pytest.skip("an editable installation would be compiled again")
    bundled = tmp_path / "all.tar"
    made = edgeinfer("bundle", "create", str(random_model), "-o", str(bundled), "--with-wheels")
    if "pip cannot gather" in made.stderr:
        pytest.skip("no package index is reached")
    assert made.returncode == 0, made.stderr
    there = tmp_path / "there"
    there.mkdir()
    seen = {"HOME": str(there), "PATH": os.environ["PATH"], "PYTHON": sys.executable}
    line = [*isolated, "sh", "-euc", THERE, str(bundled)]
    done = subprocess.run(line, env=seen, cwd=there, capture_output=True, text=True)
    assert (done.returncode, "random" in done.stdout) == (0, True), done.stderr
    found = (there / ".local/share/edgeinfer/models/files/random/random.gguf").read_bytes()
    assert found == random_model.read_bytes()
