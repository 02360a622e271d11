"""The folders that the system gives every program of this user; none need exist yet.

All of them raise DiskError when the user has no home, as in some containers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeinfer.errors import DiskError


def cache_folder() -> Path:
    """For what may be lost."""
    from platformdirs import user_cache_path

    return _ours(user_cache_path, "XDG_CACHE_HOME")


def data_folder() -> Path:
    """For what must be kept: models, sessions."""
    from platformdirs import user_data_path

    return _ours(user_data_path, "XDG_DATA_HOME")


def config_folder() -> Path:
    """For what the user sets."""
    from platformdirs import user_config_path

    return _ours(user_config_path, "XDG_CONFIG_HOME")


def _ours(find: Callable[..., Path], variable: str) -> Path:
    try:
        return find("edgeinfer", appauthor=False)
    except RuntimeError as error:
        raise DiskError("this user has no home folder", hint=f"set HOME or {variable}") from error
