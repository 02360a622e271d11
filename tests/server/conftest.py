"""A server with a small random model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Served

import edgeinfer
from edgeinfer.server.guard import Rules


@pytest.fixture(scope="session")
def served_bundled() -> Iterator[Served]:
    """The bundled model, which fills in the middle."""
    with edgeinfer.load(threads=2, context_length=512) as model:
        server = Served(model, Rules())
        yield server
        server.stop()


@pytest.fixture
def served(random_model: Path) -> Iterator[Served]:
    with edgeinfer.load(random_model, threads=2, context_length=256) as model:
        server = Served(model, Rules())
        yield server
        server.stop()
