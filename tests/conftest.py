"""Fixtures shared by all tests."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import hypothesis
import installed  # first of ours
import pytest
import tiny

from edgeinfer.cli.main import main

hypothesis.settings.register_profile("busy machine", deadline=None)  # how long one takes is no failure
hypothesis.settings.load_profile("busy machine")


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_saved() -> Iterator[None]:
    """Tests leave no keys and values in the caches of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEINFER_KV_DISK_BYTES", "0")
        yield


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests do not depend on what the person who runs them has set."""
    empty = tmp_path_factory.mktemp("config") / "config.toml"
    empty.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEINFER_CONFIG", str(empty))
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return installed.ROOT


@pytest.fixture(scope="session")
def shared_data(repository: Path) -> Path:
    """The team's data folder beside the repository; tests that need it skip where it is absent."""
    folder = repository.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the shared data folder {folder}")
    return folder


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model with a vocabulary and a chat template; what it says means nothing."""
    return tiny.write_gguf(tmp_path_factory.mktemp("models") / "random.gguf", "llama", "Q8_0")


@pytest.fixture(scope="session")
def embedding_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model that gives vectors."""
    return tiny.write_gguf(tmp_path_factory.mktemp("models") / "embedder.gguf", "qwen3-last", "Q8_0")


@pytest.fixture
def edgeinfer_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in this process, with text on standard input."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*args: str, stdin: str = "") -> Result:
        source = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        monkeypatch.setattr("sys.stdin", source)
        with pytest.raises(SystemExit) as left:
            main(list(args))
        out, err = capsys.readouterr()
        return Result(int(left.value.code or 0), out, err)

    return run
