"""What tests of the port ask: a question that the bundled model knows, and answers of a type."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

TINY = "edgeinfer-tiny"
QUESTION = "How do I download a model?"
CHAT: list[Any] = [{"role": "user", "content": QUESTION}]


class Weather(BaseModel):
    """The weather of a day."""

    day: Literal["monday", "sunday"]
    warm: bool


def schema_of(name: str, *values: str) -> dict[str, Any]:
    """An object with one key, which has one of these values."""
    return {
        "type": "object",
        "properties": {name: {"enum": list(values)}},
        "required": [name],
        "additionalProperties": False,
    }


DAY = schema_of("day", "monday", "sunday")
PLACE = schema_of("at", "it", "us")
