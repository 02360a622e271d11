"""edgeinfer: a local LLM runtime, exact by construction."""

__version__ = "0.1.0"
