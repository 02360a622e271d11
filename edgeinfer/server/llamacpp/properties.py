"""What llama.cpp's clients ask about a server before they use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import edgeinfer
from edgeinfer.server.llamacpp.settings import settings

if TYPE_CHECKING:
    from edgeinfer.client import Model


def properties(model: Model) -> dict[str, Any]:
    """The answer to /props. The path of a file is nobody's business: `model_path` is its name."""
    facts, tokenizer = model.facts, model.tokenizer

    def text(token: int | None) -> str:
        return "" if token is None else tokenizer.token_text(token)

    return {
        "default_generation_settings": {
            "params": settings(model.sampling()),
            "n_ctx": model.context_length,
        },
        "total_slots": model.max_sequences,
        "model_alias": model.name,
        "model_path": model.name,
        "model_ftype": facts.quantization,
        "modalities": {"vision": False, "video": False, "audio": False},
        "endpoint_slots": True,
        "endpoint_props": False,
        "endpoint_metrics": True,
        "chat_template": facts.template,
        "chat_template_caps": {
            "supports_tools": facts.calls_tools,
            "supports_tool_calls": facts.calls_tools,
            "supports_parallel_tool_calls": facts.calls_tools,
            "supports_system_role": True,
            "supports_string_content": True,
            "supports_typed_content": False,
        },
        "bos_token": text(tokenizer.bos_id),
        "eos_token": text(tokenizer.eos_id),
        "build_info": f"edgeinfer-{edgeinfer.__version__}",
        "is_sleeping": False,
        "defaults": _defaults(model),
    }


def _defaults(model: Model) -> dict[str, Any]:
    """What the model was told once, as people are shown it."""
    options = {name: value for name, value in model.defaults.options if isinstance(value, int | float)}
    return {"system": model.defaults.system, "options": options}


def slots(model: Model) -> list[dict[str, Any]]:
    """The answer to /slots: there are none, but so many requests can be computed at once, and so many are."""
    n_running = model.stats().n_running
    return [
        {"id": i, "n_ctx": model.context_length, "speculative": False, "is_processing": i < n_running}
        for i in range(model.max_sequences)
    ]
