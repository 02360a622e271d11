"""Parameters of answers, as people type them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from edgeinfer.config.table import PARAMETERS
from edgeinfer.defaults import Defaults
from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import InvalidRequest
from edgeinfer.options import NO_LIMIT, Options, completed

NAMES = tuple(PARAMETERS)  # those that a person may set, beside the system message


def shown(name: str, given: Mapping[str, Any], defaults: Defaults) -> str:
    """What a parameter is for a model with these defaults, when so much is given."""
    value = {**asdict(Sampling()), **completed(cast("Options", given), defaults)}.get(name)
    return "not set" if value in (None, NO_LIMIT) else str(value)


def changed(parameters: dict[str, Any], name: str, text: str) -> dict[str, Any]:
    """With this value; without any for an empty text.

    Raises:
        InvalidRequest: there is no such parameter, or the value is not in its range.
    """
    name = name.replace("-", "_")
    if name not in PARAMETERS:
        raise InvalidRequest(f"{name} is not a parameter", hint="known are " + ", ".join(NAMES))
    if not text:
        return {key: value for key, value in parameters.items() if key != name}
    return {**parameters, name: PARAMETERS[name].parse(text, name)}
