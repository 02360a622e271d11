"""Pulling through the real client of the hub: what is fetched, where it lies, how it is called."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from fake_hub import COMMIT, REPO, FakeHub, Fault
from installed import COMMAND
from pulling import NAME, edgeinfer, fetch

from edgeinfer.errors import AmbiguousName, IntegrityError, InvalidRequest, NotFound
from edgeinfer.hub.catalog import catalog
from edgeinfer.hub.names import find_model
from edgeinfer.hub.pull import plan_pull
from edgeinfer.hub.store import local_models

THEIR_DOWNLOAD = "import sys, huggingface_hub as hub; print(hub.hf_hub_download(*sys.argv[1:]))"


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


def test_what_edgeinfer_cannot_run_is_not_fetched_without_a_yes(hub: FakeHub, tmp_path: Path) -> None:
    assert "does not run yet" not in edgeinfer("pull", NAME, "--dry-run").stderr
    hub.architecture = "mamba\x1b[2J"
    told = edgeinfer("pull", NAME, "--dry-run")
    assert (told.returncode, "does not run yet" in told.stderr, "\x1b" in told.stderr) == (0, True, False)
    refused = edgeinfer("pull", NAME)
    assert (refused.returncode, "--yes" in refused.stderr) == (3, True)
    assert hub.fetched == []
    assert edgeinfer("pull", NAME, "--yes").returncode == 0


def test_what_edgeinfer_cannot_run_is_seen_in_the_header(hub: FakeHub, random_model: Path) -> None:
    """Of an address nobody tells the architecture; and a type of tensors is told nowhere else."""
    data = random_model.read_bytes()
    url = f"{hub.files_url}/{REPO}/resolve/main/m.gguf"
    foreign = data.replace(
        b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama",
        b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0mamba",
    )
    hub.repositories[REPO] = {"m.gguf": foreign}
    refused = edgeinfer("pull", url)
    assert (refused.returncode, "error: m.gguf: architecture 'mamba'" in refused.stderr) == (3, True)
    place = data.index(b"blk.0.attn_q.weight") + len("blk.0.attn_q.weight") + 4 + 2 * 8
    hub.repositories[REPO] = {"m.gguf": data[:place] + b"\x16\0\0\0" + data[place + 4 :]}  # IQ2_S
    refused = edgeinfer("pull", url)
    assert (refused.returncode, "IQ2_S" in refused.stderr) == (3, True), refused.stderr


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


def test_a_person_is_told_why_it_waits(hub: FakeHub) -> None:
    hub.faults.append(Fault(status=503))
    done = edgeinfer("pull", NAME)
    assert done.returncode == 0
    assert re.search(r"127.0.0.1:\d+ answers 503 for random-Q8_0.gguf: trying again in 0.5 s\n", done.stderr)


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
    known = catalog().models["granite4.1:3b"]  # whose checksum we do not know
    hub.repositories[known.repo] = {"granite-4.1-3b-Q4_K_M.gguf": random_model.read_bytes()}
    path = fetch("granite4.1")
    assert find_model("granite4.1:3b") == find_model("granite4.1") == path
    assert local_models()[0].names == ("granite4.1:3b", f"{known.repo}:Q4_K_M")


def test_a_proxy_is_asked_and_sees_no_token(hub: FakeHub) -> None:
    """The hub itself plays the proxy of an endpoint that does not exist."""
    proxied = {"HF_ENDPOINT": "http://hub.invalid", "http_proxy": hub.endpoint, "HF_TOKEN": "hf_secret"}
    done = edgeinfer("pull", NAME, **proxied)
    assert done.returncode == 0, done.stderr
    assert {request.headers["host"] for request in hub.asked} == {"hub.invalid"}
    assert not any("authorization" in request.headers for request in hub.asked)  # not over http


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"HF_ENDPOINT": "mirror"}, "HF_ENDPOINT"),
        ({"HTTP_PROXY": "nonsense://x"}, "HTTP_PROXY"),
        ({"HTTP_PROXY": ":::"}, "Invalid port"),
        ({"ALL_PROXY": "socks5://127.0.0.1:1"}, "ALL_PROXY"),
        ({"EDGEINFER_OFFLINE": "1"}, "offline in `edgeinfer config`"),
    ],
)
def test_what_is_set_wrongly_is_told_at_once(hub: FakeHub, variables: dict[str, str], told: str) -> None:
    done = edgeinfer("pull", NAME, **{"no_proxy": "", **variables})
    assert (done.returncode, told in done.stderr, "again in" in done.stderr) == (5, True, False)


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
