"""Models as Ollama's clients see them in lists."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from edgeinfer.hub.modelfile import BadModelfile, Modelfile

if TYPE_CHECKING:
    from edgeinfer.facts import Facts
    from edgeinfer.server.entry import Entry

_NEVER = "9999-12-31T23:59:59Z"


def listed(entry: Entry) -> dict[str, Any]:
    """An entry of /api/tags. Zed wants every field of it."""
    facts = entry.read_facts()
    return {
        "name": entry.name,
        "model": entry.name,
        "modified_at": timestamp(facts.modified_at),
        "size": facts.n_bytes,
        "digest": facts.digest,
        "details": _details(facts),
    }


def running(entry: Entry) -> dict[str, Any]:
    """An entry of /api/ps: a model that is open."""
    told = listed(entry)
    del told["modified_at"]
    stays = entry.stays_s
    return {
        **told,
        "size": told["size"] if entry.plan is None else entry.plan.total_bytes,
        "expires_at": _NEVER if stays == math.inf else timestamp(time.time() + stays),
        "size_vram": 0,
        "context_length": entry.context_length,
    }


def shown(entry: Entry, *, verbose: bool) -> dict[str, Any]:
    """The answer to /api/show; `verbose`: long arrays of the metadata too."""
    facts = entry.read_facts()
    told = _told(entry)
    return {
        "license": "\n\n".join(told.licenses) or facts.text("general.license"),
        "modelfile": _written(told),
        "parameters": "\n".join(_parameter(*pair) for pair in told.parameters),
        "template": _template(facts),
        "system": told.system or "",
        "messages": [{"role": role, "content": content} for role, content in told.messages],
        "details": _details(facts),
        "model_info": {
            "general.basename": entry.name,  # VS Code shows it; files may have a better one
            **facts.metadata(whole=verbose),
            "general.parameter_count": facts.n_parameters,
        },
        "capabilities": facts.capabilities,
        "modified_at": timestamp(facts.modified_at),
    }


def _written(told: Modelfile) -> str:
    """As a Modelfile, "" for what none can say: that is no reason to show nothing else."""
    try:
        return str(told)
    except BadModelfile:
        return ""


def _parameter(name: str, value: str) -> str:
    """Clients expect texts in quotation marks."""
    return f"{name} {json.dumps(value) if name == 'stop' else value}"


def timestamp(seconds: float) -> str:
    """As Ollama writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _details(facts: Facts) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": facts.architecture,
        "families": [facts.architecture],
        "parameter_size": _short(facts.n_parameters),
        "quantization_level": facts.quantization,
    }


def _short(n: int) -> str:
    """A number of parameters, as "7.3M"."""
    if n >= 10**9:
        return f"{n / 1e9:.1f}B"
    return f"{n / 1e6:.2f}M" if n >= 10**6 else f"{n / 1e3:.0f}K"


def _template(facts: Facts) -> str:
    """The model's, in Jinja. Continue fills in the middle only where it reads .Suffix, as in Ollama's own."""
    return facts.template + ("{# .Suffix #}" if "insert" in facts.capabilities else "")


def _told(entry: Entry) -> Modelfile:
    """What the model was told, without the path of its file: that is nobody's business.

    Continue reads num_ctx from the parameters.
    """
    told = (entry.located and entry.located.modelfile) or Modelfile("")
    named = Modelfile(entry.name, (("num_ctx", str(entry.context_length)),))
    return replace(named.over(told), base=entry.name)
