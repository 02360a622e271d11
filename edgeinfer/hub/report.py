"""How those who wait are told how far a file, or several, have come."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[int], None]  # bytes that are here


def behind(n_before: int, report: Report) -> Report:
    """Reports of a file, told as those of several with so many bytes before it."""
    return lambda n_bytes: report(n_before + n_bytes)
