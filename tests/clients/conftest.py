"""The bundled tiny model on a port, for clients that we did not write and do not change."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest
from serving import Served, serve


@pytest.fixture(scope="session")
def tiny_port() -> Iterator[Served]:
    with serve(None, context_length=1024) as server:
        yield server


@pytest.fixture(scope="session")
def v1(tiny_port: Served) -> str:
    """Where OpenAI's clients look."""
    return f"http://127.0.0.1:{tiny_port.port}/v1"


@pytest.fixture(scope="session")
def root(tiny_port: Served) -> str:
    """Where Ollama's and Anthropic's clients look."""
    return f"http://127.0.0.1:{tiny_port.port}"


@pytest.fixture(autouse=True)
def _leaks_of_clients_are_theirs() -> Iterator[None]:
    """What they leave open is collected here, without the warnings that fail our own tests."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
