"""A machine of its own for each test: no models but the bundled ones, and a hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import REPO, FakeHub

from edgeinfer.bench import speed


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `~` is; no variable that a user may have set leads elsewhere."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE", "OLLAMA_MODELS", "LLAMA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HUGGINGFACE_HUB_CACHE", "EDGEINFER_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _short_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test needs of the speed of this machine is that it is measured."""
    monkeypatch.setattr(speed, "_SECONDS", 0.001)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, random_model: Path) -> Iterator[FakeHub]:
    """A hub with one repository, which `HF_ENDPOINT` names."""
    with FakeHub() as served:
        served.repositories[REPO] = {"random-Q8_0.gguf": random_model.read_bytes()}
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield served
