"""OpenAI's embeddings: requests in, answers out."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import Field

from edgeinfer.server.bodies import InvalidParameter, Many
from edgeinfer.server.embeddings import MOST_TEXTS, TextsBody

if TYPE_CHECKING:
    from concurrent.futures import Future

    from edgeinfer.client import Model
    from edgeinfer.engine.embedding import Embedding
    from edgeinfer.engine.request import Priority


class EmbeddingsBody(TextsBody):
    """POST /v1/embeddings."""

    input: str | Many[str] | Many[int] | Many[Many[int]]
    encoding_format: Literal["float", "base64"] | None = None  # None: float
    dimensions: int | None = Field(default=None, ge=1)

    def start(self, model: Model, *, priority: Priority = "interactive") -> list[Future[Embedding]]:
        """The vector of each text.

        Raises:
            InvalidParameter: there are no texts or too many, or one is empty.
            InvalidRequest: the model has no vectors, or not so many dimensions.
        """
        one = isinstance(self.input, str) or (self.input and isinstance(self.input[0], int))
        texts = cast("list[str | list[int]]", [self.input] if one else self.input)
        if not texts or len(texts) > MOST_TEXTS:
            raise InvalidParameter("input", f"must be from 1 to {MOST_TEXTS} texts, not {len(texts)}")
        for i, text in enumerate(texts):
            if not text:
                raise InvalidParameter("input" if one else f"input[{i}]", "is empty")
        return model.embeddings(texts, dimensions=self.dimensions, priority=priority)

    def answer(self, found: Sequence[Embedding], model: Model) -> dict[str, Any]:
        """The body of the answer."""
        spell = _as_base64 if self.encoding_format == "base64" else _as_numbers
        n_tokens = sum(embedding.usage.n_prompt for embedding in found)
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "index": i, "embedding": spell(embedding)}
                for i, embedding in enumerate(found)
            ],
            "model": model.name,
            "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        }


def _as_base64(embedding: Embedding) -> str:
    return base64.b64encode(embedding.vector.astype(np.dtype("<f4")).tobytes()).decode()


def _as_numbers(embedding: Embedding) -> list[float]:
    return cast("list[float]", embedding.vector.tolist())
