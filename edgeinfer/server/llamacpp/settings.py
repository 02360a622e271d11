"""How tokens are chosen, in llama.cpp's words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeinfer.engine.sampling import Sampling
    from edgeinfer.server.llamacpp.requests import Body

_SAMPLERS = ["penalties", "dry", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"]  # in our order
_NAMED_ALIKE = (
    *("seed", "temperature", "top_k", "top_p", "min_p", "xtc_probability", "xtc_threshold", "typical_p"),
    *("repeat_last_n", "repeat_penalty", "presence_penalty", "frequency_penalty"),
    *("dry_multiplier", "dry_base", "dry_allowed_length"),
)


def settings(sampling: Sampling, body: Body | None = None) -> dict[str, Any]:
    """Those of a request, or of one that asks for nothing."""
    most = body.n_predict if body and body.n_predict is not None else -1
    return {
        **{name: getattr(sampling, name) for name in _NAMED_ALIKE},
        "dry_penalty_last_n": sampling.dry_last_n,
        "samplers": _SAMPLERS,
        "mirostat": 0,
        "max_tokens": most,
        "n_predict": most,
        "n_probs": body.n_probs if body else 0,
        "stop": (body and body.stop) or [],
        "stream": body is not None and body.stream,
        "ignore_eos": body is not None and body.ignore_eos,
        "logit_bias": [
            {"token": token, "bias": None if math.isinf(bias) else bias}
            for token, bias in sampling.logit_bias.items()
        ],
    }
