"""What a model was told once and for all: it holds wherever a caller leaves something open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Defaults:
    """Of one model. Equal ones make equal answers."""

    system: str = ""  # the system message of conversations that bring none
    messages: tuple[tuple[str, str], ...] = ()  # (role, content) of what comes first in each conversation
    template: str | None = None  # Jinja source; None: that of the file
    options: tuple[tuple[str, Any], ...] = ()  # keyword arguments of `Model.generate`
    loading: tuple[tuple[str, Any], ...] = ()  # keyword arguments of `edgeinfer.load`
