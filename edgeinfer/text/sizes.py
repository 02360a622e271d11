"""Sizes, for people."""

from __future__ import annotations


def in_bytes(n: int) -> str:
    """A number of bytes for people: 512 B, 3.4 MiB."""
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{n} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
