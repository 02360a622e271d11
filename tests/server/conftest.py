"""A server with a small random model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import tiny
from serving import Served, serve


@pytest.fixture(scope="session")
def served_bundled() -> Iterator[Served]:
    """The bundled model, which fills in the middle."""
    with serve(None, context_length=512) as server:
        yield server


@pytest.fixture
def served(random_model: Path) -> Iterator[Served]:
    with serve(random_model, context_length=256) as server:
        yield server


@pytest.fixture
def serve_template(tmp_path: Path) -> Iterator[Callable[[str], Served]]:
    """Serves a small random model with this chat template, called `model`."""
    with ExitStack() as stack:

        def with_template(template: str) -> Served:
            path = tiny.write_gguf(tmp_path / "model.gguf", "llama", "Q8_0", template=template)
            return stack.enter_context(serve(path))

        yield with_template


@pytest.fixture
def served_embedder(embedding_model: Path) -> Iterator[Served]:
    """A model that gives vectors."""
    with serve(embedding_model, context_length=256) as server:
        yield server
