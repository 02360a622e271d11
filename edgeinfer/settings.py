"""What the environment sets, read once into one frozen record. Options of a command come before it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from edgeinfer.errors import InvalidRequest

KvType = Literal["f16", "q8_0", "iq4_nl"]  # as native/src/quant/kv_types.inc lists them
_PREFIX = "EDGEINFER_"
_READ_ELSEWHERE = {"TARGET", "DEBUG", "API_KEY"}  # by the native engine, and by the command line


@dataclass(frozen=True)
class Settings:
    """Defaults for what a caller leaves open; None: decide from the machine and the model."""

    threads: int | None = None  # EDGEINFER_THREADS
    context_length: int | None = None  # EDGEINFER_CONTEXT_LENGTH, tokens
    kv_type: KvType = "f16"  # EDGEINFER_KV_TYPE
    kv_disk_bytes: int = 4 << 30  # EDGEINFER_KV_DISK_BYTES, of saved keys and values; 0: none
    keep_headers: bool = False  # EDGEINFER_KEEP_HEADERS, 1: read the changing headers of agents too
    offline: bool = False  # EDGEINFER_OFFLINE, 1: nothing is fetched

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read EDGEINFER_* variables. Raises InvalidRequest for an unknown name or a senseless value."""
        environment = os.environ if environment is None else environment
        found = {k.removeprefix(_PREFIX): v for k, v in environment.items() if k.startswith(_PREFIX)}
        known = {name.upper(): name for name in cls.__dataclass_fields__}
        for name in sorted(found.keys() - known.keys() - _READ_ELSEWHERE):
            names = ", ".join(sorted(_PREFIX + k for k in known.keys() | _READ_ELSEWHERE))
            raise InvalidRequest(f"{_PREFIX}{name} is not a setting", hint=f"known are {names}")
        return cls(
            threads=_count(found, "THREADS"),
            context_length=_count(found, "CONTEXT_LENGTH"),
            kv_type=kv_type_named(found.get("KV_TYPE", cls.kv_type)),
            kv_disk_bytes=_bytes(found, "KV_DISK_BYTES", cls.kv_disk_bytes),
            keep_headers=_switch(found, "KEEP_HEADERS"),
            offline=_switch(found, "OFFLINE"),
        )


def kv_type_named(name: str) -> KvType:
    """The type that keys and values are kept in. Raises InvalidRequest when there is no such type."""
    for known in get_args(KvType):
        if name == known:
            return cast(KvType, known)
    raise InvalidRequest(f"kv_type must be {', '.join(get_args(KvType))}, not {name!r}")


def _switch(found: Mapping[str, str], name: str) -> bool:
    text = found.get(name, "0")
    if text not in ("0", "1"):
        raise InvalidRequest(f"{_PREFIX}{name} must be 0 or 1, not {text!r}")
    return text == "1"


def _bytes(found: Mapping[str, str], name: str, otherwise: int) -> int:
    text = found.get(name, str(otherwise))
    if not text.isdecimal():
        raise InvalidRequest(f"{_PREFIX}{name} must be a number of bytes, not {text!r}")
    return int(text)


def _count(found: Mapping[str, str], name: str) -> int | None:
    if name not in found:
        return None
    if not found[name].isdecimal() or int(found[name]) < 1:
        raise InvalidRequest(f"{_PREFIX}{name} must be a positive integer, not {found[name]!r}")
    return int(found[name])
