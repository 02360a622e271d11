"""A server with a small random model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import tiny
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


@pytest.fixture
def serve_template(tmp_path: Path) -> Iterator[Callable[[str], Served]]:
    """Serves a small random model with this chat template, called `model`."""
    with ExitStack() as stack:

        def serve(template: str) -> Served:
            path = tiny.write_gguf(tmp_path / "model.gguf", "llama", "Q8_0", template=template)
            server = Served(stack.enter_context(edgeinfer.load(path, threads=2)), Rules())
            stack.callback(server.stop)
            return server

        yield serve


@pytest.fixture
def served_embedder(embedding_model: Path) -> Iterator[Served]:
    """A model that gives vectors."""
    with edgeinfer.load(embedding_model, threads=2, context_length=256) as model:
        server = Served(model, Rules())
        yield server
        server.stop()
