"""Pulling through the real client of the hub, from servers that break, lie and stall."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import random
import re
import shutil
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
from fake_hub import COMMIT, REPO, FakeHub, Fault

from edgeinfer.errors import (
    AccessDenied,
    AmbiguousName,
    BadModelFile,
    DiskError,
    EdgeInferError,
    IntegrityError,
    InvalidRequest,
    NetworkError,
    NotFound,
)
from edgeinfer.hub.catalog import catalog
from edgeinfer.hub.names import find_model
from edgeinfer.hub.network import read_repository
from edgeinfer.hub.pull import plan_pull, pull
from edgeinfer.hub.store import huggingface, local_models
from edgeinfer.hub.transfer import Patience

NAME = f"{REPO}:Q8_0"
HASTY = Patience(attempts=3, first_delay_s=0.001, stall_s=0.2)
THEIR_DOWNLOAD = "import sys, huggingface_hub as hub; print(hub.hf_hub_download(*sys.argv[1:]))"
COMMAND = (sys.executable, "-P", "-c", "from edgeinfer.cli.main import console; console()")


def fetch(name: str = NAME, patience: Patience = HASTY) -> Path:
    return pull(plan_pull(name, patience), patience)


def nothing_is_offered() -> bool:
    return local_models() == []


def edgeinfer(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **more}
    return subprocess.run([*COMMAND, *args], capture_output=True, text=True, env=environment, timeout=60)


def test_what_is_pulled_lies_where_the_hubs_own_client_puts_it(
    hub: FakeHub, tmp_path: Path, random_model: Path
) -> None:
    ours = fetch()
    theirs = subprocess.run(
        [sys.executable, "-c", THEIR_DOWNLOAD, REPO, "random-Q8_0.gguf"],
        env={**os.environ, "HF_HOME": str(tmp_path / "theirs"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    layouts = [
        {path.relative_to(root).as_posix(): os.readlink(path) if path.is_symlink() else path.read_bytes()}
        for root in (ours.parents[2], Path(theirs).parents[2])
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix == ".gguf"
    ]
    assert layouts[0] == layouts[1]
    assert ours.read_bytes() == random_model.read_bytes()
    assert (ours.parents[2] / "refs/main").read_text() == COMMIT


def test_the_hubs_own_client_finds_what_was_pulled(hub: FakeHub) -> None:
    ours = fetch()
    n_fetched = len(hub.fetched)
    code = (
        "import huggingface_hub as h; print(h.hf_hub_download(%r, 'random-Q8_0.gguf')); "
        "print(h.scan_cache_dir().warnings)"
    )
    found = subprocess.run([sys.executable, "-c", code % REPO], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [str(ours), "[]"]
    assert len(hub.fetched) == n_fetched


def test_what_the_hubs_own_client_fetched_is_ours_too(hub: FakeHub, home: Path) -> None:
    command = [sys.executable, "-c", THEIR_DOWNLOAD, REPO, "random-Q8_0.gguf"]
    theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert [str(model.path) for model in local_models()] == [theirs]
    n_fetched = len(hub.fetched)
    assert str(fetch()) == theirs
    assert len(hub.fetched) == n_fetched


def test_a_pulled_model_is_listed_and_answers(hub: FakeHub) -> None:
    done = edgeinfer("pull", NAME, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    listed = json.loads(edgeinfer("list", "--json").stdout)
    assert [row["path"] for row in listed] == [report["path"]]
    assert listed[0]["sha256"] == report["files"][0]["sha256"]
    answered = edgeinfer("run", f"hf.co/{REPO}:q8_0", "hi", "-n", "2", "--json")
    assert json.loads(answered.stdout)["completion_tokens"] in (1, 2)


def test_what_edgeinfer_cannot_run_is_told_before_it_is_fetched(hub: FakeHub) -> None:
    assert edgeinfer("pull", NAME, "--dry-run").stderr == ""
    hub.architecture = "mamba\x1b[2J"
    told = edgeinfer("pull", NAME, "--dry-run").stderr
    assert "does not run yet" in told
    assert "\x1b" not in told


def test_a_person_sees_how_far_it_is(hub: FakeHub) -> None:
    hub.pause_s = 0.005
    terminal, other_end = pty.openpty()
    termios.tcsetwinsize(other_end, (24, 100))
    with subprocess.Popen([*COMMAND, "pull", NAME], stdout=subprocess.DEVNULL, stderr=other_end) as process:
        os.close(other_end)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while read := os.read(terminal, 4096):
                shown += read
    os.close(terminal)
    assert process.returncode == 0
    assert re.search(rb"\d+%.*<.*B/s", shown), shown


def test_a_checksum_of_the_catalog_is_a_name_and_a_promise(hub: FakeHub) -> None:
    known = catalog().models["smollm3:3b"]
    file = known.files[known.quant]
    hub.repositories[known.repo] = {file.name: b"GGUF of somebody else"}
    for name in ("smollm3", f"sha256:{file.sha256}"):
        with pytest.raises(IntegrityError, match="another"):
            plan_pull(name)
    hub.listed_sha256[file.name] = str(file.sha256)
    assert plan_pull(str(file.sha256)).repo == known.repo


def test_what_is_no_name_or_needs_no_pull_is_told(hub: FakeHub) -> None:
    with pytest.raises(NotFound) as caught:
        plan_pull("qwen33:4b")
    assert "qwen3:4b" in str(caught.value.hint)
    with pytest.raises(InvalidRequest, match="inside the package"):
        plan_pull("edgeinfer-tiny")
    assert hub.asked == []


def test_a_short_name_is_pulled_and_found(hub: FakeHub, random_model: Path) -> None:
    hub.repositories["ggml-org/gpt-oss-20b-GGUF"] = {"gpt-oss-20b-mxfp4.gguf": random_model.read_bytes()}
    path = fetch("gpt-oss")
    assert find_model("gpt-oss:20b") == find_model("gpt-oss") == path
    assert local_models()[0].names == ("gpt-oss:20b", "ggml-org/gpt-oss-20b-GGUF:MXFP4")


def test_a_proxy_is_asked_and_sees_no_token(hub: FakeHub) -> None:
    """The hub itself plays the proxy of an endpoint that does not exist."""
    proxied = {"HF_ENDPOINT": "http://hub.invalid", "http_proxy": hub.endpoint, "HF_TOKEN": "hf_secret"}
    done = edgeinfer("pull", NAME, **proxied)
    assert done.returncode == 0, done.stderr
    assert {request.headers["host"] for request in hub.asked} == {"hub.invalid"}
    assert not any("authorization" in request.headers for request in hub.asked)  # not over http


def test_a_dry_run_tells_and_writes_nothing(hub: FakeHub, home: Path) -> None:
    report = json.loads(edgeinfer("pull", NAME, "--dry-run", "--json").stdout)
    size = len(hub.repositories[REPO]["random-Q8_0.gguf"])
    assert (report["bytes"], report["here_bytes"]) == (size, 0)
    assert "would be fetched" in edgeinfer("pull", NAME, "--dry-run").stdout
    assert (hub.fetched, list(home.rglob("*.gguf"))) == ([], [])


def test_a_second_pull_checks_and_fetches_nothing(hub: FakeHub) -> None:
    path = fetch()
    assert fetch() == path
    assert len(hub.fetched) == 1


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


def kill_a_pull(hub: FakeHub, at_byte: int, delay_s: float = 0.0) -> None:
    """Start a pull in a process of its own, and end it when so much of the file was sent."""
    reached = threading.Event()
    hub.faults.append(Fault(until=at_byte, then=reached.set))
    hub.faults.append(Fault(until=0, stall_s=30))
    with subprocess.Popen([*COMMAND, "pull", NAME], stdout=subprocess.DEVNULL) as process:
        assert reached.wait(30)
        time.sleep(delay_s)
        process.kill()
    hub.faults.clear()


def test_a_pull_goes_on_after_its_process_was_killed_at_any_byte(hub: FakeHub, random_model: Path) -> None:
    size = random_model.stat().st_size
    hub.pause_s = 0.0005  # so that the client keeps up
    seed = random.randrange(1 << 32)
    print("seed", seed)
    for offset in sorted(random.Random(seed).sample(range(size), 20)):
        kill_a_pull(hub, offset)
        assert nothing_is_offered()
    assert fetch().read_bytes() == random_model.read_bytes()
    assert hub.sent_bytes < 2 * size


def test_a_pull_that_is_killed_at_its_end_offers_all_or_nothing(hub: FakeHub, random_model: Path) -> None:
    for milliseconds in range(0, 30, 5):
        kill_a_pull(hub, random_model.stat().st_size, milliseconds / 1000)
        assert [m.path.read_bytes() for m in local_models()] in ([], [random_model.read_bytes()])
        path = fetch()
        assert path.read_bytes() == random_model.read_bytes()
        shutil.rmtree(path.parents[2])


def test_a_socket_that_falls_silent_is_given_up(hub: FakeHub, random_model: Path) -> None:
    hub.faults.append(Fault(until=50_000, stall_s=2))
    assert fetch().read_bytes() == random_model.read_bytes()
    assert [request.start for request in hub.fetched] == [0, 50_000]


def test_a_server_that_only_drips_is_given_up(hub: FakeHub) -> None:
    hub.pause_s = 0.15
    with pytest.raises(NetworkError, match="bytes a second"):
        fetch(patience=Patience(attempts=1, stall_s=0.3, least_rate=1e9))
    assert nothing_is_offered()


def test_a_wrong_checksum_is_told_and_nothing_stays(hub: FakeHub, home: Path) -> None:
    hub.listed_sha256["random-Q8_0.gguf"] = "0" * 64
    with pytest.raises(IntegrityError, match="should be 0000"):
        fetch()
    assert nothing_is_offered()
    assert [p for p in home.rglob("*") if p.is_file() and p.suffix != ".lock"] == []
    assert edgeinfer("pull", NAME).returncode == 8


def test_pieces_that_do_not_fit_are_fetched_again_as_one(hub: FakeHub, random_model: Path) -> None:
    size = random_model.stat().st_size
    hub.faults.append(Fault(until=1000, body=bytes(size)))  # of another file
    assert fetch().read_bytes() == random_model.read_bytes()
    assert [request.start for request in hub.fetched] == [0, 1000, 0]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(headers={"Content-Type": "text/html; charset=utf-8"}, body=b"<html>log in"), "web page"),
        (Fault(status=200, headers={"Content-Type": "text/html"}, body=b"<html>"), "web page"),
        (Fault(body=b"short"), "5 of"),
        (Fault(headers={"Content-Encoding": "gzip"}), "compressed"),
        (Fault(status=500), "500"),
        (Fault(status=429, headers={"Retry-After": "0"}), "429"),
        (Fault(status=418), "418"),
    ],
)
def test_a_mirror_that_lies_or_fails_is_told_from_a_file(hub: FakeHub, fault: Fault, error: str) -> None:
    hub.faults.extend([fault] * 3)
    with pytest.raises(NetworkError, match=error) as caught:
        fetch()
    assert caught.value.exit_code == 5
    assert nothing_is_offered()
    hub.faults.clear()
    assert fetch().is_file()


def test_a_mirror_that_sends_more_than_it_should_fills_no_disk(hub: FakeHub, random_model: Path) -> None:
    data = random_model.read_bytes()
    hub.faults.append(Fault(body=data + bytes(1 << 20)))
    assert fetch().read_bytes() == data


def test_a_mirror_that_sends_another_range_is_told(hub: FakeHub) -> None:
    hub.faults.append(Fault(until=1000))
    hub.faults.append(Fault(headers={"Content-Range": "bytes 0-999/5000"}))
    with pytest.raises(NetworkError, match="the server sends"):
        fetch()


def test_a_mirror_that_tells_too_short_a_length_is_asked_for_the_rest(
    hub: FakeHub, random_model: Path
) -> None:
    hub.faults.extend(Fault(claim=n, until=n) for n in (7, 5000))
    assert fetch().read_bytes() == random_model.read_bytes()


def test_a_server_without_ranges_starts_over(hub: FakeHub, random_model: Path) -> None:
    hub.faults.extend([Fault(until=1000), Fault(ranges=False)])
    assert fetch().read_bytes() == random_model.read_bytes()


def test_retry_after_is_obeyed_or_told(hub: FakeHub) -> None:
    hub.api_faults.append(Fault(status=429, headers={"Retry-After": "0"}))
    assert fetch().is_file()
    hub.api_faults.append(Fault(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(NetworkError) as caught:
        plan_pull(NAME, HASTY)
    assert "3600 seconds" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "status", "headers", "expected", "hint"),
    [
        (NAME, 403, {"X-Error-Code": "GatedRepo"}, AccessDenied, "accept its terms"),
        (NAME, 401, {"X-Error-Code": "GatedRepo"}, AccessDenied, "accept its terms"),
        (NAME, 401, {"X-Error-Code": "RepoNotFound"}, NotFound, "HF_TOKEN"),
        (
            NAME,
            401,
            {"X-Error-Message": "Invalid credentials in Authorization header"},
            AccessDenied,
            "token",
        ),
        (NAME, 403, {}, AccessDenied, "HF_TOKEN"),
        (NAME, 404, {"X-Error-Code": "RepoNotFound"}, NotFound, "spelling"),
        (NAME, 404, {"X-Error-Code": "RevisionNotFound"}, NotFound, "spelling"),
    ],
)
def test_each_refusal_has_its_error(
    hub: FakeHub,
    name: str,
    status: int,
    headers: dict[str, str],
    expected: type[EdgeInferError],
    hint: str,
) -> None:
    hub.api_faults.append(Fault(status=status, headers=headers))
    with pytest.raises(expected) as caught:
        plan_pull(name, HASTY)
    assert hint in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>log in</html>",
        b"[" * 100_000,
        b"{}",
        b'{"sha": "../..", "siblings": []}',
        b" " * (9 << 20),
        b"\xff",
    ],
    ids=["html", "deep", "empty", "commit", "long", "bytes"],
)
def test_a_hub_that_answers_nonsense_is_told(hub: FakeHub, body: bytes) -> None:
    hub.api_faults.append(Fault(status=200, body=body))
    with pytest.raises(NetworkError):
        plan_pull(NAME, HASTY)


def test_a_redirection_without_end_is_told(hub: FakeHub) -> None:
    hub.api_faults.extend([Fault(status=307, headers={"Location": "/api/models/again"})] * 50)
    with pytest.raises(NetworkError, match="redirect"):
        plan_pull(NAME, HASTY)


def test_nobody_at_home_is_told_with_a_hint(hub: FakeHub) -> None:
    hub.die()
    with pytest.raises(NetworkError) as caught:
        plan_pull(NAME, HASTY)
    assert "connected" in str(caught.value.hint)


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
    assert (done.returncode, done.stderr.split("\n")[0].startswith("error: no space left")) == (6, True)
    assert nothing_is_offered()
    hub.fetched.clear()
    assert fetch().read_bytes() == random_model.read_bytes()
    assert [request.start for request in hub.fetched] == [100_000]


UNSHARE = ["unshare", "--user", "--map-root-user"]
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=2m none "$HOME/.cache" || exit 77
"$0" -P -c "from edgeinfer.cli.main import console; console()" pull "$1" &
until ls "$HOME"/.cache/huggingface/hub/*/blobs/*.incomplete; do sleep 0.01; done
head -c 1500000 /dev/zero > "$HOME/.cache/others"
wait $!; code=$?; rm "$HOME/.cache/others"
find "$HOME/.cache" -name "*.gguf"
"$0" -P -c "from edgeinfer.cli.main import console; console()" pull "$1" && exit $code
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


def test_a_token_goes_to_the_hub_and_nowhere_else(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch()
    assert all(r.headers.get("authorization") == "Bearer hf_secret" for r in hub.asked)
    assert [r.headers.get("authorization") for r in hub.fetched] == [None]
    pull(plan_pull(f"{hub.files_url}/{REPO}/resolve/main/random-Q8_0.gguf"))
    assert {r.headers.get("authorization") for r in hub.fetched} == {None}


@pytest.mark.parametrize(
    "name",
    [
        "../escape-Q4_0.gguf",
        "..\\escape-Q4_0.gguf",
        "a/../../escape-Q4_0.gguf",
        "/tmp/escape-Q4_0.gguf",
        "C:\\escape-Q4_0.gguf",
        "a//b-Q4_0.gguf",
        "./x-Q4_0.gguf",
        ".hidden/x-Q4_0.gguf",
        " x-Q4_0.gguf",
        "con.gguf",
        "a\x00b-Q4_0.gguf",
        "a\nb-Q4_0.gguf",
        "x" * 70_000 + "-Q4_0.gguf",
        "é\u202e-Q4_0.gguf",
        "blobs/../../x-Q4_0.gguf",
    ],
)
def test_a_hostile_file_name_is_no_file(hub: FakeHub, tmp_path: Path, name: str) -> None:
    hub.repositories[REPO] = {name: b"GGUF"}
    before = sorted(tmp_path.rglob("*"))
    for asked in (REPO, f"{REPO}:Q4_0", f"{REPO}/{name}"):
        with pytest.raises(EdgeInferError):
            fetch(asked)
    assert sorted(tmp_path.rglob("*")) == before
    assert hub.fetched == []


def test_none_of_many_hostile_names_is_taken(hub: FakeHub) -> None:
    ways = [
        "..",
        "../..",
        ".",
        "~",
        "",
        " ",
        "\\",
        "..\\",
        "C:",
        "//",
        "%2e%2e",
        "NUL",
        "aux.x",
        "\x7f",
        "\u2028",
        "a\0",
    ]
    names = {f"{a}/{b}/x-Q4_0.gguf" for a in ways for b in ["ok", *ways]}
    hub.repositories[REPO] = {**dict.fromkeys(names, b"GGUF"), "fine/x-Q8_0.gguf": b"GGUF"}
    assert [file.name for file in read_repository(REPO).files] == ["fine/x-Q8_0.gguf"]


def test_a_link_in_a_repository_is_a_file_of_its_text(hub: FakeHub, tmp_path: Path) -> None:
    hub.repositories[REPO] = {"x-Q4_0.gguf": b"../../../../escape", "x-Q4_0.gguf/y-Q8_0.gguf": b"GGUF"}
    for name in (f"{REPO}:Q4_0", f"{REPO}:Q8_0"):
        with pytest.raises(EdgeInferError):
            fetch(name)
    assert list(tmp_path.rglob("escape")) == []
    assert nothing_is_offered()


def test_a_small_file_that_the_hub_keeps_in_git_is_checked_by_gits_name(
    hub: FakeHub, random_model: Path
) -> None:
    hub.repositories[REPO] = {"x-Q8_0-in-git.gguf": random_model.read_bytes()}
    assert fetch(REPO).read_bytes() == random_model.read_bytes()
    hub.repositories[REPO] = {"y-Q8_0-in-git.gguf": random_model.read_bytes()}
    plan = plan_pull(REPO)
    shutil.rmtree(plan.path.parents[2])
    hub.repositories[REPO] = {"y-Q8_0-in-git.gguf": bytes(random_model.stat().st_size)}
    with pytest.raises(IntegrityError):
        pull(plan)


def test_a_file_that_is_no_model_is_told(hub: FakeHub) -> None:
    hub.repositories[REPO] = {"x-Q4_0.gguf": b"GGUF" + bytes(100)}
    with pytest.raises(BadModelFile):
        fetch(REPO)
    assert nothing_is_offered()


def test_names_of_files_in_a_repository_are_never_guessed(hub: FakeHub, random_model: Path) -> None:
    data = random_model.read_bytes()
    hub.repositories[REPO] = {"m-Q8_0.gguf": data, "m-Q4_K_M.gguf": data, "m-imat-Q4_K_M.gguf": data}
    with pytest.raises(AmbiguousName) as caught:
        plan_pull(REPO)
    assert str(caught.value.hint).count(REPO) == 3
    with pytest.raises(AmbiguousName):
        plan_pull(f"{REPO}:q4_k_m")
    assert plan_pull(f"{REPO}/m-imat-Q4_K_M.gguf").path.name == "m-imat-Q4_K_M.gguf"
    assert plan_pull(f"hf.co/{REPO.upper()}:q8_0").repo == REPO
    assert plan_pull(f"https://huggingface.co/{REPO}/blob/main/m-Q8_0.gguf").path.name == "m-Q8_0.gguf"
    with pytest.raises(NotFound) as missing:
        plan_pull(f"{REPO}:Q6_K")
    assert f"{REPO}:Q8_0" in str(missing.value.hint)
    done = edgeinfer("pull", REPO)
    assert (done.returncode, "say which" in done.stderr) == (2, True)


def test_a_plain_address_is_pulled_resumed_and_run(hub: FakeHub, random_model: Path) -> None:
    url = f"{hub.files_url}/{REPO}/resolve/main/random-Q8_0.gguf"
    hub.faults.extend([Fault(), Fault(until=1000)])
    path = fetch(url)
    assert path.read_bytes() == random_model.read_bytes()
    assert [request.start for request in hub.fetched] == [0, 0, 1000]
    assert find_model(url) == find_model("random-Q8_0") == path
    with pytest.raises(IntegrityError):
        fetch(f"{url}#sha256={'0' * 64}")


def test_bytes_of_what_an_address_gave_before_are_not_taken(hub: FakeHub, random_model: Path) -> None:
    url = f"{hub.files_url}/{REPO}/resolve/main/random-Q8_0.gguf"
    data = random_model.read_bytes()
    hub.repositories[REPO]["random-Q8_0.gguf"] = bytes(len(data))
    hub.faults.extend([Fault(), *[Fault(until=5000)] * 3])
    with pytest.raises(NetworkError):
        fetch(url)
    hub.repositories[REPO]["random-Q8_0.gguf"] = data
    assert fetch(url).read_bytes() == data
    assert hub.fetched[-1].start == 0


def test_a_file_that_changes_while_it_is_fetched_is_told(hub: FakeHub) -> None:
    url = f"{hub.files_url}/{REPO}/resolve/main/random-Q8_0.gguf"
    size = len(hub.repositories[REPO]["random-Q8_0.gguf"])

    def change() -> None:
        hub.repositories[REPO]["random-Q8_0.gguf"] = bytes(size)

    hub.faults.extend([Fault(), Fault(until=5000, then=change)])
    with pytest.raises(NetworkError, match="changed"):
        fetch(url)
    assert nothing_is_offered()


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
