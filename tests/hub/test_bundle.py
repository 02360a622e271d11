"""Bundles: what was put in comes out on another machine; what is damaged or hostile is refused whole."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from installed import COMMAND
from pulling import edgeinfer
from stores import copy, in_ollama, in_the_cache

from edgeinfer.errors import DiskError, EdgeInferError, IntegrityError, InvalidRequest, NotFound
from edgeinfer.hub import bundle
from edgeinfer.hub.names import find_model
from edgeinfer.hub.store import local_models


def quiet(n_bytes: int) -> None:
    """Nobody waits."""


def bundled(out: Path, *names: str, wheels: tuple[Path, ...] = ()) -> Path:
    bundle.create(bundle.with_wheels(bundle.plan(names, out), wheels), quiet)
    return out


def install(path: Path) -> None:
    bundle.install(bundle.open_bundle(path), quiet)


@pytest.fixture
def models(home: Path, random_model: Path, random_shards: list[Path]) -> tuple[str, ...]:
    """Of three stores: one in shards, one without a file name of its own."""
    in_the_cache(home, "a/b-GGUF", "b-Q8_0.gguf", random_model)
    in_ollama(home, "tiny", random_model)
    for path in random_shards:
        copy(path, home / ".lmstudio/models/p/c" / path.name)
    return ("a/b-GGUF", "tiny", "p/c:Q8_0")


@pytest.fixture
def other_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Call it to be on a machine that has seen nothing. Gives its home."""

    def go() -> Path:
        home = tmp_path / "other"
        home.mkdir(exist_ok=True)
        monkeypatch.setenv("HOME", str(home))
        return home

    return go


@pytest.fixture
def one(tmp_path: Path, random_model: Path, other_machine: Callable[[], Path]) -> Path:
    """A bundle of one model, on a machine that has seen nothing."""
    path = bundled(tmp_path / "one.tar", str(random_model))
    other_machine()
    return path


def test_what_was_put_in_comes_out_elsewhere(
    models: tuple[str, ...],
    tmp_path: Path,
    random_model: Path,
    random_shards: list[Path],
    other_machine: Callable[[], Path],
) -> None:
    out = tmp_path / "all.tar"
    made = edgeinfer("bundle", "create", *models, "-o", str(out), "--json")
    assert made.returncode == 0, made.stderr
    other_machine()
    assert local_models() == []
    assert edgeinfer("bundle", "verify", str(out)).returncode == 0
    assert local_models() == []
    for _ in range(2):  # the second time all is here
        done = edgeinfer("bundle", "install", str(out), "--json")
        assert (done.returncode, done.stdout) == (0, made.stdout), done.stderr
    assert sorted(model.name for model in local_models()) == sorted(models)
    for name in models[:2]:
        assert find_model(name).read_bytes() == random_model.read_bytes()
    assert find_model("p/c:Q8_0").read_bytes() == random_shards[0].read_bytes()
    assert edgeinfer("run", "p/c:Q8_0", "hi", "-n", "2").returncode == 0


def test_any_tar_can_read_a_bundle(models: tuple[str, ...], tmp_path: Path, random_model: Path) -> None:
    wheel = tmp_path / ("x" * 90 + "-py3.whl")
    wheel.write_bytes(b"wheel")
    out = bundled(tmp_path / "all.tar", *models, wheels=(wheel,))
    subprocess.run(["tar", "-xf", str(out), "-C", str(tmp_path)], check=True)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    rows = {f"wheels/{row['file']}": row for row in manifest["wheels"]}
    for i, model in enumerate(manifest["models"]):
        rows |= {f"models/{i}/{row['file']}": row for row in model["files"]}
    for name, row in rows.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == row["sha256"]
    subprocess.run(["sha256sum", "-c", "manifest.sha256"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "models/1/model.gguf").read_bytes() == random_model.read_bytes()
    with tarfile.open(out) as read:
        assert [member.name for member in read][2:-1] == list(rows)
    named = bundle.plan(("a/b-GGUF/b-Q8_0.gguf",), tmp_path / "b.tar")
    assert [model.name for model in named.contents.models] == ["a/b-GGUF:Q8_0"]
    with pytest.raises(InvalidRequest, match="exists"):
        bundle.plan(models, out)
    with pytest.raises(InvalidRequest, match="one name"):
        bundle.plan(("tiny", "TINY"), tmp_path / "b.tar")
    with pytest.raises(NotFound):
        bundle.plan(("nothing-here",), tmp_path / "b.tar")


def test_an_installation_goes_on_after_its_process_was_killed_at_any_byte(
    one: Path, random_model: Path
) -> None:
    size = random_model.stat().st_size
    seed = random.randrange(1 << 32)
    print("seed", seed)
    code = (  # with small pieces, so that any byte may be the last
        "import os, sys, signal; from pathlib import Path; from edgeinfer.hub import bundle\n"
        "limit = int(sys.argv[2]); bundle._PIECE = 4096\n"
        "bundle.install(bundle.open_bundle(Path(sys.argv[1])),"
        " lambda n: os.kill(os.getpid(), signal.SIGKILL) if n >= limit else None)"
    )
    for limit in sorted(random.Random(seed).sample(range(1, size), 20)):
        done = subprocess.run([COMMAND[0], "-P", "-c", code, str(one), str(limit)], capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert local_models() == []
    install(one)
    assert find_model("random").read_bytes() == random_model.read_bytes()


def test_a_begun_file_of_something_else_is_not_kept(
    one: Path, random_model: Path, other_machine: Callable[[], Path]
) -> None:
    (model,) = bundle.open_bundle(one).contents.models
    part = other_machine() / ".local/share/edgeinfer/models/part" / model.key
    for begun in (b"x" * 1000, bytes(random_model.stat().st_size + 1), random_model.read_bytes()):
        part.mkdir(parents=True)
        (part / "random.gguf").write_bytes(begun)
        install(one)
        assert find_model("random").read_bytes() == random_model.read_bytes()
        shutil.rmtree(find_model("random").parent)


def test_two_installations_at_once_make_one(one: Path, random_model: Path) -> None:
    both = [subprocess.Popen([*COMMAND, "bundle", "install", str(one)]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert find_model("random").read_bytes() == random_model.read_bytes()


def test_a_name_that_is_taken_is_told(one: Path, random_model: Path) -> None:
    other = random_model.parent / "other"
    other.mkdir(exist_ok=True)
    changed = other / "random.gguf"
    changed.write_bytes(random_model.read_bytes() + bytes(32))
    install(bundled(one.with_name("changed.tar"), str(changed)))
    with pytest.raises(InvalidRequest, match="called 'random' already"):
        install(one)


def test_a_bundle_cut_off_anywhere_is_refused(one: Path, other_machine: Callable[[], Path]) -> None:
    data = one.read_bytes()
    home = other_machine()
    seed = random.randrange(1 << 32)
    print("seed", seed)
    ends = [0, 1, 511, 512, 1024, 5000, *(len(data) - n for n in (2048, 1024, 512, 1))]
    for n in ends + random.Random(seed).sample(range(len(data)), 50):
        one.write_bytes(data[:n])
        with pytest.raises(IntegrityError):
            install(one)
    one.write_bytes(data + b"\0")
    with pytest.raises(IntegrityError, match="does not end where"):
        install(one)
    os.truncate(one, 1 << 40)  # of nothing: it must not be read into memory
    with pytest.raises(IntegrityError, match="does not end where"):
        install(one)
    os.truncate(one, 0)
    assert list(home.rglob("*")) == []
    assert edgeinfer("bundle", "install", str(one)).returncode == 8
    assert edgeinfer("bundle", "verify", str(one) + "x").returncode == 9


def test_any_changed_byte_is_found(one: Path) -> None:
    data = one.read_bytes()
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    places = [rng.randrange(2048) for _ in range(60)] + [rng.randrange(len(data)) for _ in range(40)]
    places += [len(data) - 1 - rng.randrange(3072) for _ in range(30)]
    for at in places:
        broken = bytearray(data)
        broken[at] ^= 1 << rng.randrange(8)
        one.write_bytes(broken)
        with pytest.raises(IntegrityError):
            bundle.verify(bundle.open_bundle(one), quiet)
        with pytest.raises(IntegrityError):
            install(one)
    assert local_models() == []
    one.write_bytes(data)
    install(one)


def crafted(
    path: Path, manifest: Any, members: list[tuple[tarfile.TarInfo, bytes]], raw: bytes | None = None
) -> Path:
    """A bundle as somebody else may write it, with a right seal."""
    told = json.dumps(manifest).encode() if raw is None else raw
    seal = f"{hashlib.sha256(told).hexdigest()}  manifest.json\n".encode()
    with path.open("wb") as out:
        for info, data in [(member("manifest.json"), told), *members, (member("manifest.sha256"), seal)]:
            info.size = info.size or len(data)
            out.write(info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512))
        out.write(bytes(1024))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def told(data: bytes, name: str = "m", file: str = "m.gguf", **more: Any) -> dict[str, Any]:
    """A manifest of one file."""
    row = {"file": file, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} | more
    models = [{"name": name, "files": [row]}]
    head = {"format": "edgeinfer bundle 1", "edgeinfer": "0", "machine": "Linux x86_64, Python 3.11"}
    return {**head, "models": models, "wheels": [], "created": []}


def refused(path: Path) -> bool:
    """Whether a bundle is, at both doors, and nothing was written anywhere."""
    everything = path.parent.parent
    before = sorted(everything.rglob("*"))
    with pytest.raises(EdgeInferError) as caught:
        bundle.verify(bundle.open_bundle(path), quiet)
    with pytest.raises(EdgeInferError):
        install(path)
    assert isinstance(caught.value, IntegrityError), caught.value
    return sorted(everything.rglob("*")) == before


def test_the_crafted_bundle_itself_is_good(one: Path, random_model: Path) -> None:
    data = random_model.read_bytes()
    install(crafted(one, told(data), [(member("models/0/m.gguf"), data)]))
    assert find_model("m").read_bytes() == data


@pytest.mark.parametrize(
    "file",
    [
        *("../m.gguf", "/tmp/m.gguf", "a/m.gguf", "..", "..\\m.gguf", "C:m.gguf", ".m.gguf", "m.gguf\0", ""),
        *("m.gguf\n", "é.gguf", "m.sh", "m", "x" * 200 + ".gguf", 1, None, ["m.gguf"]),
    ],
)
def test_a_file_name_that_leads_elsewhere_is_refused(one: Path, file: Any) -> None:
    manifest = told(b"x", file=file)
    assert refused(crafted(one, manifest, [(member(f"models/0/{file}"[:90]), b"x")]))


@pytest.mark.parametrize("name", ["../m", "a/../../m", "", "/m", "m\n", "\x1b[2J", "x" * 300, "m.gguf"])
def test_a_model_name_that_leads_elsewhere_is_refused(one: Path, name: str) -> None:
    assert refused(crafted(one, told(b"x", name), [(member("models/0/m.gguf"), b"x")]))


@pytest.mark.parametrize(
    "info",
    [
        member("models/0/m.gguf", tarfile.SYMTYPE, "/etc/passwd"),
        member("models/0/m.gguf", tarfile.LNKTYPE, "manifest.json"),
        member("models/0/m.gguf", tarfile.DIRTYPE),
        member("models/0/m.gguf", tarfile.CHRTYPE),
        member("models/0/m.gguf", tarfile.GNUTYPE_SPARSE),
        member("models/0/m.gguf", tarfile.XHDTYPE),
        member("models/0/m.gguf", tarfile.GNUTYPE_LONGNAME),
        member("../../m.gguf"),
        member("/tmp/m.gguf"),
        member("manifest.json"),
        member("models/0/m.gguf", size=1 << 32),
        member("models/0/m.gguf", size=2),
    ],
)
def test_a_member_of_another_kind_name_or_size_is_refused(one: Path, info: tarfile.TarInfo) -> None:
    assert refused(crafted(one, told(b"x"), [(info, b"x")]))


@pytest.mark.parametrize(
    "more",
    [{"size_bytes": n} for n in (0, -1, 2, 1 << 40, 1 << 62, 1 << 80, 1.0, True, "1", None)]
    + [{"sha256": value} for value in ("0" * 64, "0" * 63, "G" * 64, "", None, 0)],
)
def test_a_manifest_that_lies_about_a_file_is_refused(one: Path, home: Path, more: dict[str, Any]) -> None:
    path = crafted(one, told(b"x", **more), [(member("models/0/m.gguf"), b"x")])
    if more.get("sha256") == "0" * 64:  # known only when it is read
        with pytest.raises(IntegrityError, match="promises"):
            install(path)
        assert [p for p in home.rglob("*") if p.is_file() and p.suffix != ".lock"] == []
    else:
        assert refused(path)


def test_doubles_strangers_and_nonsense_are_refused(one: Path, random_model: Path) -> None:
    row = told(b"x")["models"][0]["files"][0]
    models = [{"name": "m", "files": [row]}, {"name": "M", "files": [row]}]
    both = [(member(f"models/{i}/m.gguf"), b"x") for i in range(2)]
    assert refused(crafted(one, told(b"x") | {"models": models}, both))
    twice = [{"name": "m", "files": [row, row]}]
    assert refused(crafted(one, told(b"x") | {"models": twice}, [both[0], both[0]]))
    assert refused(crafted(one, told(b"x"), both))  # one more than is told
    assert refused(crafted(one, told(b"x"), []))
    for nothing in ({}, [], None, told(b"x") | {"format": "2"}, told(b"x") | {"models": [{"name": "m"}]}):
        assert refused(crafted(one, nothing, [both[0]]))
    empty = told(b"x") | {"models": [{"name": "m", "files": []}]}
    assert refused(crafted(one, empty, []))
    for raw in (b"[" * 100_000, b"\xff", b" " * (2 << 20), b'{"format": 1e999}'):
        assert refused(crafted(one, None, [], raw))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("manifest.json", "{}")
    for other in (archive.getvalue(), random_model.read_bytes(), bytes(10_240)):
        one.write_bytes(other)
        assert refused(one)


def test_a_file_that_is_no_model_is_not_offered(one: Path, other_machine: Callable[[], Path]) -> None:
    with pytest.raises(EdgeInferError):
        install(crafted(one, told(b"GGUF" * 100), [(member("models/0/m.gguf"), b"GGUF" * 100)]))
    assert local_models() == []
    assert list(other_machine().rglob("*.gguf")) == []


def test_a_full_disk_is_told_before_anything_is_written(
    one: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(home)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(EdgeInferError, match="no space") as caught:
        install(one)
    assert caught.value.exit_code == 6
    with pytest.raises(EdgeInferError, match="no space"):
        bundle.plan(("edgeinfer-tiny",), one.with_name("b.tar"))
    assert local_models() == []


LIMITED = (  # as a disk that is full after so many bytes
    "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
    "from edgeinfer.cli.main import console; console()"
)


def test_a_disk_that_is_full_midway_is_told_and_the_installation_goes_on(
    one: Path, random_model: Path, tmp_path: Path
) -> None:
    command = (COMMAND[0], "-P", "-c", LIMITED, "bundle")
    out = tmp_path / "new" / "b.tar"
    out.parent.mkdir()
    for line in (("install", str(one)), ("create", str(random_model), "-o", str(out))):
        done = subprocess.run([*command, *line], capture_output=True, text=True)
        assert (done.returncode, "no space left" in done.stderr) == (6, True), done.stderr
    assert (local_models(), list(out.parent.iterdir())) == ([], [])
    install(one)
    assert find_model("random").read_bytes() == random_model.read_bytes()


def test_where_nothing_can_be_written_is_told(one: Path, other_machine: Callable[[], Path]) -> None:
    (other_machine() / ".local").touch()
    done = edgeinfer("bundle", "install", str(one))
    assert (done.returncode, done.stderr.startswith("error: cannot change")) == (6, True), done.stderr
    done = edgeinfer("bundle", "create", "edgeinfer-nano", "-o", str(one.parent / "nowhere" / "b.tar"))
    assert (done.returncode, "there is no folder" in done.stderr) == (2, True)


def test_what_a_killed_process_was_writing_is_in_nobodys_way(one: Path, random_model: Path) -> None:
    out = one.with_name("again.tar")
    code = (
        "import os, sys, signal; from pathlib import Path; from edgeinfer.hub import bundle\n"
        "limit = int(sys.argv[3]); bundle._PIECE = 4096\n"
        "bundle.create(bundle.plan(sys.argv[1:2], Path(sys.argv[2])),"
        " lambda n: os.kill(os.getpid(), signal.SIGKILL) if n >= limit else None)"
    )
    for limit in (1, 50_000, random_model.stat().st_size):
        line = [COMMAND[0], "-P", "-c", code, str(random_model), str(out), str(limit)]
        assert subprocess.run(line).returncode == -signal.SIGKILL
        assert not out.exists()
    bundled(out, str(random_model))
    assert out.read_bytes() == one.read_bytes()
    assert not one.with_name("again.tar.part").exists()


def test_of_two_that_write_one_file_the_second_is_told(one: Path, random_model: Path) -> None:
    out = one.with_name("again.tar")
    told = []

    def meanwhile(n_bytes: int) -> None:
        with pytest.raises(DiskError, match="another process writes"):
            bundled(out, "edgeinfer-nano")
        told.append(n_bytes)

    bundle.create(bundle.plan((str(random_model),), out), meanwhile)
    assert told
    assert out.read_bytes() == one.read_bytes()


def test_what_nobody_goes_on_with_is_removed_after_a_week(
    one: Path, other_machine: Callable[[], Path]
) -> None:
    parts = other_machine() / ".local/share/edgeinfer/models/part"
    days = {"young": 6, "old": 8, "held": 8, "touched": 8}
    for name, n_days in days.items():
        (parts / name).mkdir(parents=True)
        (parts / name / "m.gguf").write_bytes(b"x")
        for path in (parts / name / "m.gguf", parts / name):
            os.utime(path, (time.time() - n_days * 86400,) * 2)
    os.utime(parts / "touched" / "m.gguf")
    with FileLock(parts / "held.lock"):
        install(one)
    assert sorted(path.name for path in parts.iterdir() if path.is_dir()) == ["held", "touched", "young"]
    install(one)
    assert not (parts / "held").exists()


def test_what_a_model_was_told_comes_along(
    models: tuple[str, ...], tmp_path: Path, other_machine: Callable[[], Path]
) -> None:
    written, out = tmp_path / "Modelfile", tmp_path / "pirate.tar"
    written.write_text('FROM a/b-GGUF\nPARAMETER temperature 0.2\nSYSTEM Say "arr".\n')
    both = ("pirate", "a/b-GGUF:Q8_0")
    for line in (("create", "pirate", "-f", str(written)), ("bundle", "create", *both, "-o", str(out))):
        done = edgeinfer(*line)
        assert done.returncode == 0, done.stderr
    told = edgeinfer("show", "pirate", "--modelfile").stdout.partition("\n")[2]
    other_machine()
    for _ in range(2):
        done = edgeinfer("bundle", "install", str(out))
        assert (done.returncode, "created from a/b-GGUF:Q8_0" in done.stdout) == (0, True), done.stderr
    assert edgeinfer("show", "pirate", "--modelfile").stdout.partition("\n")[2] == told
    assert find_model("pirate") == find_model("a/b-GGUF:Q8_0")
    written.write_text("FROM a/b-GGUF:Q8_0\n")
    assert edgeinfer("create", "pirate", "-f", str(written)).returncode == 0
    with pytest.raises(InvalidRequest, match="called 'pirate' already"):
        install(out)


def test_a_created_model_that_lies_is_refused(one: Path) -> None:
    for row in (
        {"name": "../c", "modelfile": "FROM m"},
        {"name": "M", "modelfile": "FROM m"},
        {"name": "c", "modelfile": "FROM /etc/passwd"},
        {"name": "c", "modelfile": "FROM other"},
        {"name": "c", "modelfile": "NOTHING"},
        {"name": "c", "modelfile": 1},
        {"name": "c"},
    ):
        manifest = told(b"x") | {"created": [row]}
        assert refused(crafted(one, manifest, [(member("models/0/m.gguf"), b"x")])), row


def test_another_machine_is_told_whose_wheels_these_are(one: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "m-1-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    out = bundled(tmp_path / "all.tar", "edgeinfer-nano", wheels=(wheel,))
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 3.8\n")
    python.chmod(0o755)
    script = subprocess.run(["tar", "-xOf", out, "install.sh"], capture_output=True, check=True).stdout
    seen = {**os.environ, "PYTHON": str(python)}
    done = subprocess.run(["sh", "-s", out], input=script, capture_output=True, env=seen, cwd=tmp_path)
    assert (done.returncode, b"here is" in done.stderr, b"Python 3.8" in done.stderr) == (1, True, True)
    assert not (tmp_path / "edgeinfer").exists()
    data = out.read_bytes()
    out.write_bytes(data.replace(b"mktemp", b"mktmpe"))
    with pytest.raises(IntegrityError, match=r"install\.sh does not belong"):
        bundle.open_bundle(out)


def test_what_comes_through_a_pipe_has_to_be_saved_first(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = edgeinfer("bundle", "install", str(tmp_path / "pipe"))
    assert (done.returncode, "save what comes through a pipe" in done.stderr) == (9, True)


def test_offline_no_wheels_are_gathered(tmp_path: Path) -> None:
    line = ("bundle", "create", "edgeinfer-tiny", "-o", str(tmp_path / "x.tar"), "--with-wheels")
    done = edgeinfer(*line, "--offline")  # it stands anywhere
    assert (done.returncode, "offline: a wheel" in done.stderr) == (5, True)
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_NO_BUILD_ISOLATION": "0"}
    done = edgeinfer(*line, **nowhere, PIP_NO_CACHE_DIR="1")
    assert (done.returncode, "pip cannot gather" in done.stderr) == (5, True), done.stderr
    assert not (tmp_path / "x.tar").exists()
