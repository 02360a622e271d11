"""Models in other programs' folders, laid out as those programs do: listed, and run where they lie."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import COMMAND
from pulling import edgeinfer
from stores import copy, in_ollama, in_the_cache

from edgeinfer.errors import InvalidRequest, NotFound
from edgeinfer.hub.names import find_model
from edgeinfer.hub.store import local_models
from edgeinfer.hub.store.own import link

WEIGHTS = b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": %s, "size": 1}]}'
Run = Callable[..., "tuple[int, str, str]"]


def names() -> list[str]:
    return [model.name for model in local_models()]


def test_all_stores_are_listed_and_run_in_place(
    home: Path, random_model: Path, edgeinfer_command: Run
) -> None:
    cached = in_the_cache(home, "a/b-GGUF", "b-Q8_0.gguf", random_model)
    ollama = in_ollama(home, "tiny", random_model)
    studio = copy(random_model, home / ".lmstudio/models/publisher/c-GGUF/c-Q8_0.gguf")
    cpp = copy(random_model, home / ".cache/llama.cpp/user_d-GGUF_d-Q8_0.gguf")
    (cpp.parent / "manifest=user=d-GGUF=latest.json").write_text("{}")
    listed = json.loads(edgeinfer_command("list", "--json")[1])
    assert [(row["name"], row["path"], row["store"]) for row in listed] == [
        ("a/b-GGUF:Q8_0", str(cached), "huggingface"),
        ("publisher/c-GGUF:Q8_0", str(studio), "lm-studio"),
        ("user/d-GGUF:Q8_0", str(cpp), "llama.cpp"),
        ("tiny:latest", str(ollama), "ollama"),
    ]
    before = sorted(path for path in home.rglob("*") if path.is_file())
    answers = {
        edgeinfer_command("run", row["name"], "hi", "-n", "4", "--temperature", "0")[:2] for row in listed
    }
    assert [code for code, _ in answers] == [0]  # one model, one answer
    assert sorted(path for path in home.rglob("*") if path.is_file()) == before


def test_ollamas_names_are_its_own(home: Path, random_model: Path) -> None:
    blob = in_ollama(home, "tiny", random_model)
    in_ollama(home, "x", random_model, "registry.ollama.ai/someone/{}/v1")
    in_ollama(home, "y-GGUF", random_model, "hf.co/someone/{}/Q8_0")
    assert names() == ["hf.co/someone/y-GGUF:Q8_0", "tiny:latest", "someone/x:v1"]
    for name in (
        "tiny",
        "tiny:latest",
        "someone/x:v1",
        "someone/y-GGUF:q8_0",
        "hf.co/someone/y-GGUF",
        blob.name,
    ):
        assert find_model(name) == blob


def test_other_places_are_found_by_their_variables(
    tmp_path: Path, random_model: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    moved = tmp_path / "moved"
    in_the_cache(moved, "a/b", "b-Q8_0.gguf", random_model)
    in_ollama(moved, "tiny", random_model)
    copy(random_model, moved / "cpp/m-Q8_0.gguf")
    copy(random_model, moved / "studio/p/c/c-Q8_0.gguf")
    monkeypatch.setenv("HF_HOME", str(moved / ".cache/huggingface"))
    monkeypatch.setenv("OLLAMA_MODELS", str(moved / ".ollama/models"))
    monkeypatch.setenv("LLAMA_CACHE", str(moved / "cpp"))
    (home / ".lmstudio-home-pointer").write_text(f"{moved}/state\n")
    copy(random_model, moved / "state/settings.json").write_text(
        json.dumps({"downloadsFolder": f"{moved}/studio"})
    )
    assert names() == ["a/b:Q8_0", "p/c:Q8_0", "m-Q8_0", "tiny:latest"]


def test_half_and_broken_files_are_no_models(
    home: Path, random_model: Path, random_shards: list[Path]
) -> None:
    studio = home / ".lmstudio/models/p/c"
    copy(random_model, studio / "half-Q8_0.gguf", 100_000)
    copy(random_model, studio / "empty-Q4_0.gguf", 0)
    copy(random_shards[1], studio / "one-F16-00002-of-00002.gguf")
    (studio / "page-Q6_K.gguf").write_text("<html>")
    blob = in_ollama(home, "half", random_model)
    os.truncate(blob, 1000)
    gone = in_the_cache(home, "a/gone", "b-Q8_0.gguf", random_model)
    gone.resolve().unlink()
    loop = home / ".cache/huggingface/hub/models--a--loop/snapshots/x/m-Q8_0.gguf"
    loop.parent.mkdir(parents=True)
    loop.symlink_to(loop)
    copy(random_model, home / ".cache/huggingface/hub/models--a--part/blobs/0.incomplete", 1000)
    assert local_models() == []


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"layers": null}',
        b"[" * 100_000,
        WEIGHTS % b"1",
        WEIGHTS % b'"sha256:../../x"',
    ],
)
def test_a_strange_manifest_is_passed_over(home: Path, random_model: Path, manifest: bytes) -> None:
    in_ollama(home, "good", random_model)
    strange = home / ".ollama/models/manifests/registry.ollama.ai/library/bad/latest"
    strange.parent.mkdir(parents=True)
    strange.write_bytes(manifest)
    assert names() == ["good:latest"]


def test_an_ollama_model_with_an_adapter_is_not_taken_for_its_base(home: Path, random_model: Path) -> None:
    in_ollama(home, "tuned", random_model)
    manifest = home / ".ollama/models/manifests/registry.ollama.ai/library/tuned/latest"
    layers = json.loads(manifest.read_text())["layers"]
    layers.append({**layers[0], "mediaType": "application/vnd.ollama.image.adapter"})
    manifest.write_text(json.dumps({"layers": layers}))
    assert names() == []


def test_strangers_in_the_folders_do_no_harm(home: Path, random_model: Path) -> None:
    ours = home / ".local/share/edgeinfer/models"
    stores = [home / ".ollama/models", home / ".lmstudio/models", home / ".cache/huggingface/hub", ours]
    for place in ("names", "files", "web", "p/c", "manifests/a/b/c", "models--a--b/snapshots", ""):
        for store in stores:
            copy(random_model, store / place / ".DS_Store", 10)
    copy(random_model, ours / "names/no-link.gguf")
    assert names() == []


def test_folders_that_we_may_not_read_are_passed_over(home: Path, random_model: Path) -> None:
    in_ollama(home, "private", random_model)
    assert names() == ["private:latest"]
    home.chmod(0)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(65534)
        assert names() == []
    finally:
        if is_root:
            os.seteuid(0)
        home.chmod(0o700)


def test_shards_are_one_model(home: Path, random_shards: list[Path], edgeinfer_command: Run) -> None:
    for path in random_shards:
        copy(path, home / ".lmstudio/models/p/c" / path.name)
    (row,) = json.loads(edgeinfer_command("ls", "--json")[1])
    assert (row["name"], row["shards"]) == ("p/c:Q8_0", len(random_shards))
    assert row["bytes"] == sum(path.stat().st_size for path in random_shards)
    assert edgeinfer_command("run", "p/c", "hi", "-n", "2")[0] == 0


def test_of_a_repository_the_main_branch_is_listed(home: Path, random_model: Path) -> None:
    old = in_the_cache(home, "a/b", "b-Q8_0.gguf", random_model, b"old", "1" * 40)
    new = in_the_cache(home, "a/b", "b-Q8_0.gguf", random_model, b"new", "2" * 40)
    assert find_model("a/b") == new
    (new.parents[2] / "refs/main").write_text("1" * 40)
    assert find_model("a/b") == old


def test_the_catalog_is_listed(home: Path, edgeinfer_command: Run) -> None:
    listed = json.loads(edgeinfer_command("list", "--catalog", "--json")[1])
    (row,) = (row for row in listed if row["name"] == "qwen3:4b")
    assert (row["files"]["Q4_K_M"]["size_bytes"], row["runnable"]) == (2_497_280_256, True)
    shown = edgeinfer_command("ls", "--catalog")[1]
    assert re.search("qwen3:4b .* yes .*", shown)
    assert re.search("nomic-embed-text:v1.5 .* no: nomic-bert .*", shown)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("run a/", {"a/b-GGUF:Q8_0"}),
        ("run a/b-GGUF:q", {"a/b-GGUF:Q8_0"}),
        ("run edgeinfer-tiny ti", set()),  # a prompt
        ("run -m ti", {"tiny:latest"}),
        ("show TI", {"tiny:latest"}),
        ("rm ti", {"tiny:latest"}),
        ("serve edgeinfer-tiny a", {"a/b-GGUF:Q8_0"}),
        ("bench model edgeinfer-n", {"edgeinfer-nano"}),
        ("pull qwen3:4", {"qwen3:4b", "qwen3:4b-2507"}),
        ("fit smollm3", {"smollm3:3b"}),
        ("bundle create ti", {"tiny:latest"}),
    ],
)
def test_shells_complete_the_names_of_models(
    home: Path, random_model: Path, line: str, offered: set[str]
) -> None:
    in_the_cache(home, "a/b-GGUF", "b-Q8_0.gguf", random_model)
    in_ollama(home, "tiny", random_model)
    script = f"""
        {edgeinfer("completion", "bash").stdout}
        COMP_WORDS=(edgeinfer {line}); COMP_CWORD={line.count(" ") + 1}
        _edgeinfer_completion "$1"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script, "bash", "\n".join(COMMAND)], capture_output=True, text=True)
    assert (done.stderr, set(done.stdout.split())) == ("", offered)


def test_cp_import_and_rm(home: Path, random_model: Path, edgeinfer_command: Run, tmp_path: Path) -> None:
    cached = in_the_cache(home, "a/b-GGUF", "b-Q8_0.gguf", random_model)
    file = copy(random_model, tmp_path / "elsewhere/mine.gguf")
    assert edgeinfer_command("cp", "a/b-GGUF", "gpt-4o")[0] == 0
    assert edgeinfer_command("import", str(file))[0] == 0
    assert edgeinfer_command("import", str(file), "--name", "team/kept:v1", "--copy")[0] == 0
    assert names() == ["gpt-4o", "mine", "team/kept:v1", "a/b-GGUF:Q8_0"]
    assert (find_model("gpt-4o"), find_model("mine")) == (cached, file)
    file.unlink()
    assert names() == ["gpt-4o", "team/kept:v1", "a/b-GGUF:Q8_0"]
    assert find_model("team/kept:v1").read_bytes() == random_model.read_bytes()
    size = random_model.stat().st_size
    for name, freed in (("gpt-4o", 0), ("team/kept:v1", size), ("a/b-GGUF:Q8_0", size)):
        assert json.loads(edgeinfer_command("rm", name, "--json")[1])["freed_bytes"] == freed
    assert names() == []
    assert list(home.rglob("*.gguf")) == [home / ".local/share/edgeinfer/models/names/mine.gguf"]


def test_rm_leaves_what_others_keep_or_link_to(
    home: Path, random_model: Path, edgeinfer_command: Run
) -> None:
    in_ollama(home, "tiny", random_model)
    code, _, err = edgeinfer_command("rm", "tiny")
    assert (code, "belongs to ollama" in err) == (2, True)
    in_the_cache(home, "a/b", "b-Q8_0.gguf", random_model)
    twin = in_the_cache(home, "a/b", "b-twin-F16.gguf", random_model)
    assert json.loads(edgeinfer_command("rm", "a/b:Q8_0", "--json")[1])["freed_bytes"] == 0
    assert twin.is_file()
    assert edgeinfer_command("rm", "never-heard-of")[0] == 9


@pytest.mark.parametrize("kept", ["a/b-GGUF:Q8_0", "copied"])
def test_rm_keeps_a_file_that_other_names_stand_for(
    home: Path, random_model: Path, edgeinfer_command: Run, tmp_path: Path, kept: str
) -> None:
    in_the_cache(home, "a/b-GGUF", "b-Q8_0.gguf", random_model)
    assert edgeinfer_command("import", str(random_model), "--name", "copied", "--copy")[0] == 0
    assert edgeinfer_command("cp", kept, "mine")[0] == 0
    (tmp_path / "Modelfile").write_text(f"FROM {kept}\nSYSTEM Be brief.\n")
    assert edgeinfer_command("create", "brief", "-f", str(tmp_path / "Modelfile"))[0] == 0
    code, _, err = edgeinfer_command("rm", kept)
    assert (code, err.count(f"brief, mine would be lost with {kept}")) == (2, 1)
    advice = re.search("`edgeinfer (.*)`", err)[1]
    assert len(names()) == 4
    assert edgeinfer_command(*advice.split())[0] == 0
    assert len(names()) == 1


def test_an_alias_whose_file_is_gone_is_told_and_removed(
    home: Path, random_model: Path, edgeinfer_command: Run, tmp_path: Path
) -> None:
    file = copy(random_model, tmp_path / "elsewhere/mine.gguf")
    assert edgeinfer_command("import", str(file))[0] == 0
    file.unlink()
    for command in (("run", "mine", "hello"), ("show", "mine")):
        code, _, err = edgeinfer_command(*command)
        assert (code, f"stands for is gone or damaged: {file}" in err) == (9, True)
    assert edgeinfer_command("rm", "mine")[:2] == (0, "removed mine, 0 B freed\n")
    assert edgeinfer_command("rm", "mine")[0] == 9


@pytest.mark.parametrize(
    "line",
    [
        ("cp", "edgeinfer-nano", "edgeinfer-tiny"),
        ("import", "{file}", "--name", "Edgeinfer-Tiny"),
        ("import", "{file}", "--name", "edgeinfer-tiny", "--copy"),
    ],
)
def test_the_names_of_bundled_models_are_taken(
    home: Path, random_model: Path, edgeinfer_command: Run, line: tuple[str, ...]
) -> None:
    code, _, err = edgeinfer_command(*(word.format(file=random_model) for word in line))
    assert (code, "is a bundled model" in err) == (2, True)
    assert names() == []
    code, _, err = edgeinfer_command("rm", "edgeinfer-tiny")
    assert (code, "inside the package" in err) == (9, True)


@pytest.mark.parametrize("name", ["", "..", "../x", "/x", "a/../b", "x.gguf", "a b", "x\n", "x" * 200, "é"])
def test_a_bad_alias_is_refused(home: Path, random_model: Path, name: str) -> None:
    with pytest.raises(InvalidRequest):
        link(name, random_model)
    assert list(home.rglob("*.gguf")) == []


def test_a_taken_alias_is_refused_and_a_dangling_one_is_free(home: Path, random_model: Path) -> None:
    link("mine", random_model)
    with pytest.raises(InvalidRequest, match="already"):
        link("MINE", random_model)
    with pytest.raises(NotFound):
        find_model("yours")
    link("gone", home / "nowhere.gguf")
    link("gone", random_model)
    assert find_model("gone") == random_model


def test_import_refuses_what_is_no_model(home: Path, edgeinfer_command: Run) -> None:
    page = home / "page.gguf"
    page.write_text("<html>")
    assert edgeinfer_command("import", str(page))[0] == 3
    assert edgeinfer_command("import", str(home / "none.gguf"))[0] == 9
    assert names() == []
