"""edgeinfer: a local LLM runtime, exact by construction.

The door for Python programs; importing it loads nothing else until something is used:

    with edgeinfer.load() as model:
        for token in model.chat([{"role": "user", "content": "Hello"}]):
            print(token.text, end="", flush=True)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Answer", "Conversation", "Grammar", "Infill", "Model", "Sampling", "Token", "__version__", "load"]

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.engine.sampling import Sampling
    from edgeinfer.loading import load
    from edgeinfer.streaming import Answer, Token
    from edgeinfer.text.conversation import Conversation
    from edgeinfer.text.grammar import Grammar
    from edgeinfer.text.infill import Infill

_HOMES = {
    "Answer": "edgeinfer.streaming",
    "Conversation": "edgeinfer.text.conversation",
    "Grammar": "edgeinfer.text.grammar",
    "Infill": "edgeinfer.text.infill",
    "Model": "edgeinfer.client",
    "Token": "edgeinfer.streaming",
    "load": "edgeinfer.loading",
    "Sampling": "edgeinfer.engine.sampler",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """What there is, loaded or not."""
    return sorted(__all__)
