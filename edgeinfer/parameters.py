"""Parameters of answers, as people type them."""

from __future__ import annotations

from typing import Any

from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import InvalidRequest

# those that a person may set, beside the system message
NAMES = ("max_tokens", *(n for n in Sampling.names() if n not in ("logit_bias", "dry_breakers")))


def changed(parameters: dict[str, Any], name: str, text: str) -> dict[str, Any]:
    """With this value; without any for an empty text.

    Raises:
        InvalidRequest: there is no such parameter, or the value is not in its range.
    """
    name = name.replace("-", "_")
    if name not in NAMES:
        raise InvalidRequest(f"{name} is not a parameter", hint="known are " + ", ".join(NAMES))
    if not text:
        return {key: value for key, value in parameters.items() if key != name}
    value: Any = _number(name, text)
    if name == "max_tokens":
        if not isinstance(value, int) or value < 1:
            raise InvalidRequest(f"max_tokens must be an integer from 1, not {text}")
    else:
        Sampling(**{name: value})
    return {**parameters, name: value}


def _number(name: str, text: str) -> float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    raise InvalidRequest(f"{name} must be a number, not {text!r}")
