"""Settings of the environment and the file, as programs get them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

import edgeinfer
from edgeinfer import _native
from edgeinfer.config.sources import read_settings
from edgeinfer.config.table import PARAMETERS, SETTINGS, KvType, Serve, Settings
from edgeinfer.engine.sampling import RANGES
from edgeinfer.errors import InvalidRequest


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of settings, empty, and nothing in the environment."""
    monkeypatch.delenv("EDGEINFER_KV_DISK_BYTES")
    path = tmp_path / "config.toml"
    path.write_text("")
    monkeypatch.setenv("EDGEINFER_CONFIG", str(path))
    return path


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings() == Settings()
    monkeypatch.setenv("EDGEINFER_THREADS", "3")
    monkeypatch.setenv("EDGEINFER_KV_TYPE", "q8_0")
    monkeypatch.setenv("EDGEINFER_SERVE_CORS_ORIGINS", "https://a.example, https://b.example")
    serve = Serve(cors_origins=("https://a.example", "https://b.example"))
    assert read_settings() == Settings(threads=3, kv_type="q8_0", serve=serve)


def test_each_source_comes_before_the_next(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def threads(**of: int) -> int | None:
        layers = {name: {"threads": n} for name, n in of.items()}
        return read_settings(**layers).threads  # type: ignore[arg-type]

    file.write_text("threads = 1\n")
    assert threads() == 1
    assert threads(of_model=2) == 2
    monkeypatch.setenv("EDGEINFER_THREADS", "3")
    assert threads(of_model=2) == 3
    assert threads(of_model=2, given=4) == 4


def test_kv_types_are_those_of_the_engine() -> None:
    assert list(get_args(KvType)) == _native.KV_TYPES


def test_every_parameter_of_the_sampler_can_be_set() -> None:
    assert PARAMETERS.keys() - {"max_tokens"} == RANGES.keys()


def test_every_default_is_one_of_the_values() -> None:
    for row in SETTINGS.values():
        assert row.default is None or row.kind.has(row.default), row.name


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("THREADS", "many", "must be an integer from 1"),
        ("THREADS", "0", "must be an integer from 1"),
        ("THREADS", "", "must be an integer from 1"),
        ("CONTEXT_LENGTH", "-1", "must be an integer from 1"),
        ("KV_TYPE", "q4", "must be f16, q8_0 or iq4_nl"),
        ("KEEP_HEADERS", "yes", "must be true or false"),
        ("SAMPLING_TEMPERATURE", "nan", "must be a number from 0.0 to 100.0"),
        ("SERVE_KEEP_ALIVE", "soon", "must be a duration"),
        ("SERVE_CORS_ORIGINS", "https://a.example,b", "must be origins"),
        ("TREADS", "3", "EDGEINFER_THREADS"),
        ("PORT", "3", "EDGEINFER_SERVE_PORT"),
    ],
)
def test_an_unknown_variable_or_value_is_an_error_that_names_it(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"EDGEINFER_{name}", value)
    with pytest.raises(InvalidRequest) as caught:
        read_settings()
    assert f"EDGEINFER_{name} " in caught.value.message
    assert told in f"{caught.value.message} {caught.value.hint}"


def test_variables_of_the_engine_and_the_command_line_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEINFER_DEBUG", "1")
    monkeypatch.setenv("EDGEINFER_API_KEY", "secret")
    assert read_settings() == Settings()


def test_the_file_holds_for_programs_too(file: Path, random_model: Path) -> None:
    file.write_text("context_length = 64\n")
    with edgeinfer.load(random_model) as model:
        assert model.context_length == 64
    with edgeinfer.load(random_model, context_length=32) as model:
        assert model.context_length == 32
    file.write_text("context_length = 'all'\n")
    with pytest.raises(InvalidRequest, match="context_length must be an integer from 1"):
        edgeinfer.load(random_model)


def test_a_user_without_a_home_has_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEINFER_CONFIG")

    def homeless(*names: str, **options: object) -> Path:
        raise RuntimeError

    monkeypatch.setattr("platformdirs.user_config_path", homeless)
    assert read_settings() == Settings()
