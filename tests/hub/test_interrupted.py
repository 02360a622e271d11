"""Pulls that are cut off, killed, starved or crowded: what is offered is whole, and they go on."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_hub import REPO, FakeHub, Fault
from installed import COMMAND
from pulling import NAME, edgeinfer, fetch, nothing_is_offered

from edgeinfer.errors import DiskError, NetworkError, NotFound
from edgeinfer.hub.pull import plan_pull, pull
from edgeinfer.hub.store import huggingface, local_models
from edgeinfer.hub.transfer import Patience


def test_a_damaged_file_is_repaired_by_another_pull(hub: FakeHub, random_model: Path) -> None:
    path = fetch()
    blob = path.resolve()
    blob.write_bytes(bytes(blob.stat().st_size))
    assert fetch().read_bytes() == random_model.read_bytes()


def test_a_pull_goes_on_after_the_server_died_at_any_byte(hub: FakeHub, random_model: Path) -> None:
    data = random_model.read_bytes()
    seed = random.randrange(1 << 32)
    print("seed", seed)
    for offset in [0, 1, len(data) - 1, *random.Random(seed).sample(range(2, len(data) - 1), 17)]:
        hub.repositories[REPO] = {"random-Q8_0.gguf": data}
        hub.faults.append(Fault(until=offset, then=hub.die))
        hub.sent_bytes, hub.fetched[:] = 0, []
        with pytest.raises(NetworkError):
            fetch()
        assert nothing_is_offered(), offset
        hub.start()
        path = fetch()
        assert path.read_bytes() == data, offset
        assert [request.start for request in hub.fetched] == [0, offset], offset
        assert hub.sent_bytes == len(data), offset
        shutil.rmtree(path.parents[2])


def test_one_pull_survives_many_broken_connections(hub: FakeHub, random_model: Path) -> None:
    hub.faults.extend(Fault(until=n) for n in (1000, 1001, 70_000, 70_000, 80_000, 500_000))
    assert fetch().read_bytes() == random_model.read_bytes()
    assert len(hub.fetched) == 7


def kill_a_pull(hub: FakeHub, at_byte: int, delay_s: float) -> None:
    """Start a pull in a process of its own, and end it so long after the server sent so much of the file."""
    reached = threading.Event()
    hub.faults.append(Fault(until=at_byte, then=reached.set, stall_s=60))
    with subprocess.Popen([*COMMAND, "pull", NAME], stdout=subprocess.DEVNULL) as process:
        assert reached.wait(60)
        time.sleep(delay_s)
        process.kill()


def here_bytes(home: Path) -> int:
    """How much of a file an unfinished pull left."""
    return sum(path.stat().st_size for path in home.rglob("*.incomplete"))


def test_a_pull_goes_on_after_its_process_was_killed_at_any_byte(
    hub: FakeHub, home: Path, random_model: Path
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng, left = random.Random(seed), []
    for offset in sorted(rng.sample(range(random_model.stat().st_size), 20)):
        left.append(here_bytes(home))
        kill_a_pull(hub, offset, rng.choice([0, 0.01, 0.1]))  # while bytes come, or after the last of them
        assert nothing_is_offered()
    left.append(here_bytes(home))
    assert fetch().read_bytes() == random_model.read_bytes()
    assert [request.start for request in hub.fetched] == left
    assert left == sorted(left)
    assert left[-1] > 0


def test_ctrl_c_ends_a_pull_without_a_traceback_and_it_goes_on(
    hub: FakeHub, home: Path, random_model: Path
) -> None:
    reached = threading.Event()
    hub.faults.append(Fault(until=700_000, then=reached.set, stall_s=60))
    with subprocess.Popen([*COMMAND, "pull", NAME], stderr=subprocess.PIPE, text=True) as process:
        assert reached.wait(30)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        told = process.stderr.read().strip().splitlines()
        assert (len(told), " fits: " in told[0], process.wait(30)) == (1, True, 130)
    left = here_bytes(home)
    assert fetch().read_bytes() == random_model.read_bytes()
    assert [request.start for request in hub.fetched] == [0, left]


def test_a_cache_that_cannot_be_written_is_told(hub: FakeHub, home: Path) -> None:
    (home / "file").touch()
    for variable, error in (("HF_HUB_CACHE", "cannot change"), ("HF_HOME", "cannot read the hub's token")):
        done = edgeinfer("pull", NAME, **{variable: str(home / "file/inside")})
        assert (done.returncode, f"error: {error}" in done.stderr) == (6, True)


def test_a_pull_that_is_killed_at_its_end_offers_all_or_nothing(hub: FakeHub, random_model: Path) -> None:
    for milliseconds in range(0, 30, 5):
        kill_a_pull(hub, random_model.stat().st_size, milliseconds / 1000)
        assert [m.path.read_bytes() for m in local_models()] in ([], [random_model.read_bytes()])
        path = fetch()
        assert path.read_bytes() == random_model.read_bytes()
        shutil.rmtree(path.parents[2])


def test_a_socket_that_falls_silent_is_given_up(hub: FakeHub, random_model: Path) -> None:
    heard_again = threading.Event()
    ended: list[bool] = []
    hub.faults.append(Fault(until=50_000, then=lambda: ended.append(heard_again.wait(20))))
    patience = Patience(attempts=3, first_delay_s=0.001, stall_s=0.5)
    assert fetch(patience=patience).read_bytes() == random_model.read_bytes()
    assert hub.fetched[1].start == 50_000
    assert ended == []  # it is silent still
    heard_again.set()


def test_a_server_that_only_drips_is_given_up(hub: FakeHub) -> None:
    hub.pause_s = 0.15
    with pytest.raises(NetworkError, match="bytes a second"):
        fetch(patience=Patience(attempts=1, stall_s=0.3, least_rate=1e9))
    assert nothing_is_offered()


def test_all_shards_come_together_or_not_at_all(hub: FakeHub, home: Path, random_shards: list[Path]) -> None:
    hub.repositories[REPO] = {path.name: path.read_bytes() for path in random_shards}
    hub.faults.extend([Fault(), *[Fault(until=100)] * 3])
    name = f"{REPO}:Q8_0"
    with pytest.raises(NetworkError):
        pull(plan_pull(name), Patience(attempts=1))
    assert nothing_is_offered()
    assert list(home.rglob("*.gguf")) == []
    hub.faults.clear()
    path = fetch(name)
    assert [m.files for m in local_models()] == [tuple(path.parent / p.name for p in random_shards)]
    answered = edgeinfer("run", name, "hi", "-n", "2", "--json")
    assert answered.returncode == 0, answered.stderr


def test_a_shard_that_the_hub_lacks_makes_no_model(hub: FakeHub, random_shards: list[Path]) -> None:
    hub.repositories[REPO] = {path.name: path.read_bytes() for path in random_shards[1:]}
    with pytest.raises(NotFound, match="no GGUF"):
        plan_pull(REPO)


def test_two_pulls_at_once_fetch_once(hub: FakeHub, random_model: Path) -> None:
    hub.pause_s = 0.01
    both = [subprocess.Popen([*COMMAND, "pull", NAME], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=60)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert [Path(path).read_bytes() for path in paths] == [random_model.read_bytes()]
    assert hub.sent_bytes == random_model.stat().st_size


def test_a_full_disk_is_told_before_and_while_writing(hub: FakeHub, random_model: Path) -> None:
    """Of a file size that the operating system refuses the last bytes, as of a quota."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
    code = limited + "from edgeinfer.cli.main import console; console()"
    done = subprocess.run([sys.executable, "-P", "-c", code, "pull", NAME], capture_output=True, text=True)
    assert (done.returncode, "error: no space left" in done.stderr) == (6, True)
    assert nothing_is_offered()
    hub.fetched.clear()
    assert fetch().read_bytes() == random_model.read_bytes()
    assert [request.start for request in hub.fetched] == [100_000]


UNSHARE = ["unshare", "--user", "--map-root-user"]
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=2m none "$HOME/.cache" || exit 77
"$0" -P -m edgeinfer pull "$1" &
until ls "$HOME"/.cache/huggingface/hub/*/blobs/*.incomplete; do sleep 0.01; done
head -c 1500000 /dev/zero > "$HOME/.cache/others"
wait $!; code=$?; rm "$HOME/.cache/others"
find "$HOME/.cache" -name "*.gguf"
"$0" -P -m edgeinfer pull "$1" && exit $code
"""


def test_a_disk_that_others_fill_is_told_and_the_pull_goes_on_later(hub: FakeHub, home: Path) -> None:
    (home / ".cache").mkdir()
    hub.pause_s = 0.005
    command = [*UNSHARE, "--mount", "sh", "-c", ON_A_SMALL_DISK, sys.executable, NAME]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "unshare" in done.stderr or done.returncode == 77:
        pytest.skip("needs a mount namespace")
    assert (done.returncode, "error: no space left for" in done.stderr) == (6, True), done.stderr
    assert done.stdout.count("snapshots") == 1  # only what the last command says
    assert hub.fetched[1].start > 0


def test_a_model_larger_than_the_disk_is_not_begun(hub: FakeHub) -> None:
    hub.listed_bytes["random-Q8_0.gguf"] = 1 << 60
    with pytest.raises(DiskError, match="no space"):
        fetch()
    assert hub.fetched == []


def test_where_no_links_can_be_made_the_file_itself_is_shown(
    hub: FakeHub, random_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on exFAT, where external disks often are; huggingface_hub does the same."""

    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    path = fetch()
    assert (path.is_symlink(), path.read_bytes()) == (False, random_model.read_bytes())
    assert fetch() == path
    assert len(hub.fetched) == 1
    assert huggingface.remove(local_models()[0]) == random_model.stat().st_size
    assert nothing_is_offered()
