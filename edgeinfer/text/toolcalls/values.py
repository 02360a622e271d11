"""Values that models write as text, as JSON."""

from __future__ import annotations

import json

_PYTHON = {"True": "true", "False": "false", "None": "null"}  # as templates write values: with `str`


def as_json(text: str) -> str:
    """The JSON that this is, or a string of it."""
    value = _PYTHON.get(text.strip(), text.strip())
    try:
        json.loads(value, parse_constant=_refused)
    except (ValueError, RecursionError):
        return as_json_text(text)
    return value


def as_json_text(text: str) -> str:
    """A JSON string."""
    return json.dumps(text, ensure_ascii=False)


def _refused(text: str) -> None:
    raise ValueError(f"{text} is no JSON")
