"""Where the system wants what may be lost to be kept."""

from __future__ import annotations

from pathlib import Path

from edgeinfer.errors import DiskError


def cache_folder() -> Path:
    """Of edgeinfer and this user; it need not exist yet.

    Raises:
        DiskError: the user has no home, as in some containers.
    """
    from platformdirs import user_cache_path

    try:
        return user_cache_path("edgeinfer", appauthor=False)
    except RuntimeError as error:
        raise DiskError("this user has no home folder", hint="set HOME or XDG_CACHE_HOME") from error
