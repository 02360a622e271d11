"""Settings from the environment."""

from __future__ import annotations

from typing import get_args

import pytest

from edgeinfer import _native
from edgeinfer.errors import InvalidRequest
from edgeinfer.settings import KvType, Settings


def test_settings_come_from_the_environment() -> None:
    found = Settings.from_environment({"EDGEINFER_THREADS": "3", "EDGEINFER_KV_TYPE": "q8_0", "OTHER": "x"})
    assert found == Settings(threads=3, kv_type="q8_0")
    assert Settings.from_environment({}) == Settings()


def test_kv_types_are_those_of_the_engine() -> None:
    assert list(get_args(KvType)) == _native.KV_TYPES


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("THREADS", "many"),
        ("THREADS", "0"),
        ("CONTEXT_LENGTH", "-1"),
        ("KV_TYPE", "q4"),
        ("KEEP_HEADERS", "yes"),
        ("TREADS", "3"),
    ],
)
def test_an_unknown_setting_or_value_is_an_error_that_names_it(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Settings.from_environment({f"EDGEINFER_{name}": value})
    assert name in caught.value.message.upper()


def test_settings_of_the_engine_and_the_command_line_are_known() -> None:
    assert Settings.from_environment({"EDGEINFER_TARGET": "avx2", "EDGEINFER_DEBUG": "1"}) == Settings()
