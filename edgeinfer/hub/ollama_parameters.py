"""Ollama's parameters in our words (docs.ollama.com/modelfile, "Valid parameters and values")."""

from __future__ import annotations

import difflib
import re
from typing import Any

from edgeinfer.errors import InvalidRequest
from edgeinfer.options import NO_LIMIT
from edgeinfer.parameters import NAMES, changed

# parameter -> keyword argument of `edgeinfer.load` or `Model.generate`
_COUNTS = {"num_ctx": "context_length", "num_thread": "threads", "num_predict": "max_tokens"}
LOADING = ("context_length", "threads")
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
# They tune Ollama's engine, say what a GGUF file says itself, or have no effect there any more.
WITHOUT_EFFECT = (
    *("num_gpu", "main_gpu", "num_batch", "num_keep", "num_gqa", "numa", "low_vram", "f16_kv", "vocab_only"),
    *("use_mmap", "use_mlock", "logits_all", "embedding_only", "penalize_newline", "draft_num_predict"),
    *("rope_frequency_base", "rope_frequency_scale", "mirostat_eta", "mirostat_tau"),
)
# They would change the answers: parameter -> with this they do not.
_MISSING = {"mirostat": 0.0, "tfs_z": 1.0}
_MOST_STOPS = 256  # each is looked for at every character


def argument(name: str, value: str) -> dict[str, Any]:
    """A parameter, but for `stop`, as a keyword argument of ours; none where it changes nothing.

    Raises:
        InvalidRequest: there is no such parameter here, or the value makes no sense.
    """
    if name in WITHOUT_EFFECT:
        return {}
    if name in _COUNTS:
        return _count(name, value)
    if name in _MISSING:
        if _NUMBER.fullmatch(value) and float(value) == _MISSING[name]:
            return {}
        raise InvalidRequest(f"edgeinfer has no {name}: the answers would not be those that it asks for")
    if name not in NAMES or name == "max_tokens":
        raise InvalidRequest(f"{name[:40]!r} is not a parameter", hint=_near(name))
    if not _NUMBER.fullmatch(value):
        raise InvalidRequest(f"{name} must be a number, not {value[:40]!r}")
    return {} if (name, value) == ("seed", "-1") else changed({}, name, value)


def _count(name: str, value: str) -> dict[str, Any]:
    if not _INTEGER.fullmatch(value):
        raise InvalidRequest(f"{name} must be an integer, not {value[:40]!r}")
    n = int(value)
    if name == "num_predict":
        return {"max_tokens": n if n > 0 else NO_LIMIT}
    if n < 1 and name == "num_ctx":
        raise InvalidRequest(f"num_ctx must be an integer from 1, not {value}")
    return {_COUNTS[name]: n} if n > 0 else {}  # 0 threads: as many as there are cores


def _near(name: str) -> str:
    known = [*_COUNTS, "stop", *(n for n in NAMES if n != "max_tokens")]
    alike = [n for n, argument in _COUNTS.items() if argument == name]
    near = alike or difflib.get_close_matches(name, known, n=2)
    return f"did you mean {' or '.join(near)}" if near else f"known are {', '.join(known)}"


def check_stop(text: str, n_before: int) -> None:
    """Raises InvalidRequest: a `stop` behind so many others makes no sense."""
    if not text:
        raise InvalidRequest("an empty text stops nothing")
    if n_before >= _MOST_STOPS:
        raise InvalidRequest(f"there may be {_MOST_STOPS} stops")
