"""What disturbs a measurement: time that other virtual machines took, and other work on this machine."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Disturbance:
    """How quiet the machine was."""

    steal_percent: float | None  # of all processor time, taken by other virtual machines; None: not told
    load_before: float | None  # mean number of runnable processes in the minute before; None: not told

    def as_json(self) -> dict[str, Any]:
        """Both figures."""
        return asdict(self)

    def __str__(self) -> str:
        steal = "unknown" if self.steal_percent is None else f"{self.steal_percent:.1f} %"
        load = "unknown" if self.load_before is None else f"{self.load_before:.1f}"
        return f"steal {steal}, load before {load}"


class Watch:
    """Watches from its creation until `stop`."""

    def __init__(self) -> None:
        self._load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._before = _processor_times()

    def stop(self) -> Disturbance:
        """What happened since."""
        after = _processor_times()
        if self._before is None or after is None:
            return Disturbance(None, self._load)
        total, steal = (b - a for a, b in zip(self._before, after, strict=True))
        return Disturbance(100.0 * steal / total if total else 0.0, self._load)


def _processor_times() -> tuple[int, int] | None:
    """(all, stolen) ticks of all processors, from Linux's /proc/stat."""
    try:
        fields = [int(f) for f in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    except (OSError, ValueError, IndexError):
        return None
    return (sum(fields[:8]), fields[7]) if len(fields) >= 8 else None
