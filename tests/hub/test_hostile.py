"""Hubs, mirrors and names that lie: each is told, nothing is offered, nothing is written elsewhere."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from pathlib import Path

import pytest
from fake_hub import REPO, FakeHub, Fault
from pulling import HASTY, NAME, edgeinfer, fetch, nothing_is_offered

from edgeinfer.errors import (
    AccessDenied,
    BadModelFile,
    EdgeInferError,
    IntegrityError,
    NetworkError,
    NotFound,
)
from edgeinfer.hub import transfer
from edgeinfer.hub.network import read_repository
from edgeinfer.hub.pull import plan_pull, pull
from edgeinfer.hub.transfer import Patience

Run = Callable[..., "tuple[int, str, str]"]


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


def test_a_server_that_has_no_such_range_is_asked_from_the_beginning(
    hub: FakeHub, random_model: Path
) -> None:
    hub.faults.extend([Fault(until=1000), Fault(status=416)])
    assert fetch().read_bytes() == random_model.read_bytes()
    assert [request.start for request in hub.fetched] == [0, 1000, 0]


def test_a_file_may_come_in_chunks_without_a_length(hub: FakeHub, random_model: Path) -> None:
    hub.faults.extend([Fault(chunked=True, until=70_000), Fault(chunked=True)])
    assert fetch().read_bytes() == random_model.read_bytes()
    assert [request.start for request in hub.fetched] == [0, 70_000]


@pytest.mark.parametrize("when", ["0", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_retry_after_is_obeyed(hub: FakeHub, when: str) -> None:
    hub.api_faults.append(Fault(status=429, headers={"Retry-After": when}))
    assert fetch().is_file()


@pytest.mark.parametrize(
    "when", ["3600", format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)]
)
def test_a_long_retry_after_is_told(hub: FakeHub, when: str) -> None:
    hub.api_faults.append(Fault(status=429, headers={"Retry-After": when}))
    with pytest.raises(NetworkError) as caught:
        plan_pull(NAME, HASTY)
    assert re.search(r"3[0-9]{3} seconds", str(caught.value.hint))


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


BAD_HUBS = {
    "gated": (Fault(status=403, headers={"X-Error-Code": "GatedRepo"}), 5, "accept its terms"),
    "bad token": (Fault(status=401, headers={"X-Error-Message": "Invalid token"}), 5, "HF_TOKEN"),
    "forbidden": (Fault(status=403), 5, "ask its owner"),
    "absent": (Fault(status=404, headers={"X-Error-Code": "RepoNotFound"}), 9, "look at the spelling"),
    "busy": (Fault(status=429, headers={"Retry-After": "3600"}), 5, "3600 seconds"),
    "broken": (Fault(status=503), 5, "again later"),
    "nonsense": (Fault(body=b"<html>log in"), 5, "HF_ENDPOINT"),
}
BAD_MIRRORS = {
    "too short": (Fault(body=b"GGUF"), 5, "again later"),
    "cut": (Fault(until=0), 5, "again later"),
    "a page": (Fault(headers={"Content-Type": "text/html"}), 5, "HF_ENDPOINT"),
    "compressed": (Fault(headers={"Content-Encoding": "gzip"}), 5, "HF_ENDPOINT"),
    "refused": (Fault(status=418), 5, "HF_ENDPOINT"),
    "denied": (Fault(status=403), 5, "ask its owner"),
    "gone": (Fault(status=404), 9, "look at the spelling"),
    "damaged": (Fault(body=b"x" * (2 << 20)), 8, "another mirror"),
}


@pytest.mark.parametrize("case", [*BAD_HUBS, *BAD_MIRRORS])
def test_each_failure_has_an_exit_code_a_line_and_a_next_step(
    hub: FakeHub, edgeinfer_command: Run, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(transfer, "Patience", partial(Patience, sleep=lambda seconds: None))
    fault, code, hint = (BAD_HUBS | BAD_MIRRORS)[case]
    (hub.api_faults if case in BAD_HUBS else hub.faults).extend([fault] * 8)
    left, out, err = edgeinfer_command("pull", NAME)
    assert (left, out) == (code, ""), err
    *_, error, told = err.splitlines()
    assert error.startswith("error: ")
    assert told.startswith("hint: ")
    assert hint in told
    assert nothing_is_offered()


def test_a_redirection_without_end_is_told(hub: FakeHub) -> None:
    hub.api_faults.extend([Fault(status=307, headers={"Location": "/api/models/again"})] * 50)
    with pytest.raises(NetworkError, match="redirect"):
        plan_pull(NAME, HASTY)


def test_nobody_at_home_is_told_with_a_hint(hub: FakeHub) -> None:
    hub.die()
    with pytest.raises(NetworkError) as caught:
        plan_pull(NAME, HASTY)
    assert "connected" in str(caught.value.hint)


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


def test_bytes_of_what_an_address_gave_before_are_not_taken(hub: FakeHub, random_model: Path) -> None:
    url = f"{hub.files_url}/{REPO}/resolve/main/random-Q8_0.gguf"
    data = random_model.read_bytes()
    hub.repositories[REPO]["random-Q8_0.gguf"] = bytes(len(data))
    hub.faults.extend([Fault(), *[Fault(until=5000)] * 3])
    with pytest.raises(NetworkError):
        fetch(url)
    hub.repositories[REPO]["random-Q8_0.gguf"] = data
    path = fetch(url)
    assert path.read_bytes() == data
    assert hub.fetched[-1].start == 0
    assert {file.suffix for file in path.parent.iterdir()} == {".gguf", ".lock"}  # nothing stays of the other


def test_a_file_that_changes_while_it_is_fetched_is_told(hub: FakeHub) -> None:
    url = f"{hub.files_url}/{REPO}/resolve/main/random-Q8_0.gguf"
    size = len(hub.repositories[REPO]["random-Q8_0.gguf"])

    def change() -> None:
        hub.repositories[REPO]["random-Q8_0.gguf"] = bytes(size)

    hub.faults.extend([Fault(), Fault(until=5000, then=change)])
    with pytest.raises(NetworkError, match="changed"):
        fetch(url)
    assert nothing_is_offered()
