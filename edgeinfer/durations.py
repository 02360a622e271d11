"""How long a model stays open, as clients and command lines say it."""

from __future__ import annotations

import math
import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"
_LONGEST = 1e9  # 30 years; JSON has numbers that are no floats
_DURATION = f"(-?)((?:{_PART})+)"


def seconds_of(duration: object) -> float:
    """A number of seconds, or a text as "5m", "1h30m" or "300"; negative: for ever, inf.

    Raises:
        ValueError: it is none.
    """
    if isinstance(duration, str):
        duration = _parsed(duration.strip())
    if isinstance(duration, bool) or not isinstance(duration, int | float) or duration != duration:
        raise ValueError("is no duration: give seconds, or 5m, 1h30m, -1")
    return math.inf if duration < 0 else float(min(duration, _LONGEST))


def _parsed(text: str) -> float | None:
    if found := re.fullmatch(_DURATION, text):
        seconds = sum(float(n) * _UNITS[unit] for n, unit in re.findall(_PART, found[2]))
        return -seconds if found[1] else seconds
    return float(text) if re.fullmatch(r"-?\d{1,12}(\.\d+)?", text) else None
