"""Ollama's embeddings, by the newer and the older path: requests in, answers out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from edgeinfer.server.bodies import Many
from edgeinfer.server.embeddings import MOST_TEXTS, TextsBody
from edgeinfer.server.ollama.answers import nanoseconds
from edgeinfer.server.ollama.requests import Options

if TYPE_CHECKING:
    from concurrent.futures import Future

    from edgeinfer.client import Model
    from edgeinfer.engine.embedding import Embedding


class EmbedBody(TextsBody):
    """POST /api/embed.

    Nothing is cut in silence: other than with Ollama a longer text is refused if `truncate` is not given.
    """

    input: str | Annotated[Many[str], Field(max_length=MOST_TEXTS)] = ""
    truncate: bool | None = None
    dimensions: int | None = Field(default=None, ge=1)
    options: Options | None = None

    def start(self, model: Model) -> list[Future[Embedding]]:
        """The vector of each text; none for a body that only asks for the model to be loaded.

        Raises:
            InvalidRequest: the model has no vectors, or not so many dimensions; a text of a list is empty.
        """
        texts = [self.input] if isinstance(self.input, str) and self.input else list(self.input)
        most = (self.options.num_ctx if self.options else None) or model.context_length
        longest = min(most, model.context_length) if self.truncate else None
        return model.embeddings(texts, dimensions=self.dimensions, truncate_to=longest)

    def answer(self, found: Sequence[Embedding], model: Model) -> dict[str, Any]:
        """The body of the answer; durations are nanoseconds."""
        return {
            "model": model.name,
            "embeddings": [embedding.vector.tolist() for embedding in found],
            "total_duration": nanoseconds(max((embedding.usage.total_s for embedding in found), default=0)),
            "load_duration": 0,
            "prompt_eval_count": sum(embedding.usage.n_prompt for embedding in found),
        }


class EmbeddingsBody(TextsBody):
    """POST /api/embeddings, the older path, of one text."""

    prompt: str = ""
    options: Options | None = None

    def start(self, model: Model) -> list[Future[Embedding]]:
        """The vector of the text, none if there is none. Raises as that of `EmbedBody`."""
        return model.embeddings([self.prompt] if self.prompt else [])

    def answer(self, found: Sequence[Embedding], model: Model) -> dict[str, Any]:
        """The body of the answer."""
        return {"embedding": found[0].vector.tolist() if found else []}
