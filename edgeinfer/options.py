"""What can be asked of a model besides the prompt: keyword arguments, with their types (PEP 692)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, cast

from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import InvalidRequest

if TYPE_CHECKING:
    from edgeinfer.defaults import Defaults
    from edgeinfer.engine.request import Priority
    from edgeinfer.text.grammar import Grammar

NO_LIMIT = sys.maxsize  # as max_tokens: until the model or the context ends, whatever else is set
_SAMPLING = frozenset(Sampling.names())


class Parameters(TypedDict, total=False):
    """The fields of `Sampling`, which tells what they mean; None: as if it was not given."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    repeat_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repeat_last_n: int | None
    dry_multiplier: float | None
    dry_base: float | None
    dry_allowed_length: int | None
    dry_last_n: int | None
    dry_breakers: frozenset[int] | None
    xtc_probability: float | None
    xtc_threshold: float | None
    logit_bias: Mapping[int, float] | None
    seed: int | None


class Options(Parameters, total=False):
    """All of them; `Model.generate` tells what the others mean, and what holds without them."""

    sampling: Sampling | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    timeout: float | None
    context_shift: bool
    most_context: int | None
    priority: Priority
    top_logprobs: int
    score_prompt: bool
    grammar: Grammar | None


def any_seed() -> int:
    """Another one each time."""
    return int.from_bytes(os.urandom(8))


def completed(options: Options, defaults: Defaults) -> Options:
    """What is asked, with the model's defaults for what is left open; of a whole `sampling` nothing is."""
    given = {name: value for name, value in options.items() if value is not None}
    whole = "sampling" in given
    others = {name: value for name, value in defaults.options if not (whole and name in _SAMPLING)}
    return cast("Options", {**others, **given})


def sampling_of(options: Options) -> Sampling:
    """How to choose tokens, by `sampling` and by what is given one by one.

    Raises:
        InvalidRequest: a parameter is out of its range, or an option is none.
    """
    for name in options:
        if name not in Options.__optional_keys__:
            hint = "known are " + ", ".join(Sampling.names())
            raise InvalidRequest(f"{name} is not a sampling parameter", hint=hint)
    given = cast("dict[str, Any]", options)
    parameters = {name: given[name] for name in Sampling.names() if given.get(name) is not None}
    return replace(options.get("sampling") or Sampling(), **parameters)
