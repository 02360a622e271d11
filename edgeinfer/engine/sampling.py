"""How the next token is to be chosen: parameters with their defaults and ranges. Importing it is cheap."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real

from edgeinfer.errors import InvalidRequest

# parameter -> (lowest, highest, is an integer)
RANGES: dict[str, tuple[float, float, bool]] = {
    "temperature": (0.0, 100.0, False),
    "top_k": (0, 2**31 - 1, True),
    "top_p": (0.0, 1.0, False),
    "min_p": (0.0, 1.0, False),
    "typical_p": (0.0, 1.0, False),
    "repeat_penalty": (0.01, 100.0, False),
    "frequency_penalty": (-100.0, 100.0, False),
    "presence_penalty": (-100.0, 100.0, False),
    "repeat_last_n": (-1, 2**31 - 1, True),
    "dry_multiplier": (0.0, 100.0, False),
    "dry_base": (1.0, 100.0, False),
    "dry_allowed_length": (1, 2**31 - 1, True),
    "dry_last_n": (-1, 2**31 - 1, True),
    "xtc_probability": (0.0, 1.0, False),
    "xtc_threshold": (0.0, 1.0, False),
    "seed": (0, 2**64 - 1, True),
}


@dataclass(frozen=True)
class Sampling:
    """How to choose the next token. The defaults are those of `edgeinfer run`.

    Raises:
        InvalidRequest: a value is not a number of its range; the message names parameter and range.
    """

    temperature: float = 0.8  # 0: always the most likely token after bias and penalties
    top_k: int = 40  # keep the k most likely; 0: all
    top_p: float = 0.95  # keep the fewest most likely tokens that together have this probability; 1: all
    min_p: float = 0.05  # keep tokens at least this likely, relative to the most likely; 0: all
    typical_p: float = 1.0  # keep the most typical tokens with this probability (Meister et al. 2022); 1: all
    repeat_penalty: float = 1.0  # divides positive and multiplies negative logits of recent tokens; 1: off
    frequency_penalty: float = 0.0  # subtracted once per recent occurrence
    presence_penalty: float = 0.0  # subtracted once if the token is recent
    repeat_last_n: int = 64  # how many tokens are recent for the three above; -1: all, 0: none
    dry_multiplier: float = 0.0  # penalty for continuing a repetition; 0: off
    dry_base: float = 1.75  # the penalty is multiplier * base ** (length - allowed length)
    dry_allowed_length: int = 2  # repetitions shorter than this are free
    dry_last_n: int = -1  # how many tokens are searched for repetitions; -1: all
    dry_breakers: frozenset[int] = frozenset()  # token ids at which a repetition ends
    xtc_probability: float = 0.0  # how often the most likely choices are left out; 0: off
    xtc_threshold: float = 0.1  # of several tokens at least this likely only the least likely stays
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # added to logits; -inf forbids a token
    seed: int | None = None  # None: a random one for each request

    def __post_init__(self) -> None:
        """Check every range."""
        for name, (low, high, integer) in RANGES.items():
            if name != "seed" or self.seed is not None:
                _check(name, getattr(self, name), low, high, integer=integer)
        for token, bias in self.logit_bias.items():
            _check("logit_bias", token, 0, 2**31 - 1, integer=True, which=" token id")
            if bias != -math.inf:
                _check("logit_bias", bias, -1e4, 1e4, integer=False, which=f" of token {token}")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The parameters, in order."""
        return tuple(f.name for f in fields(cls))


def _check(name: str, value: object, low: float, high: float, *, integer: bool, which: str = "") -> None:
    number = isinstance(value, Integral if integer else Real) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # type: ignore[operator]  # NaN fails the comparison
        kind = "an integer" if integer else "a number"
        raise InvalidRequest(f"{name}{which} must be {kind} from {low} to {high}, not {value!r}", param=name)
