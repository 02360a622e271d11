"""Tokens of a sequence as an array, and what two of them have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


def common_prefix(a: Tokens, b: Tokens) -> int:
    """How many first tokens are the same."""
    most = min(len(a), len(b))
    if most == 0 or a[0] != b[0]:  # almost always
        return 0
    differ = a[:most] != b[:most]
    first = int(differ.argmax())
    return first if differ[first] else most
