"""llama.cpp's answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from edgeinfer.engine.events import QueuedEvent, ReadingEvent
from edgeinfer.server.failure import Failure
from edgeinfer.server.llamacpp.failure import failure_body
from edgeinfer.server.llamacpp.requests import Body, Started
from edgeinfer.server.llamacpp.settings import settings
from edgeinfer.server.logprobs import entries
from edgeinfer.server.reply import Reply
from edgeinfer.server.sse import data
from edgeinfer.server.timings import prompt_progress, timings
from edgeinfer.streaming import Answer, Progress, Stream, Token

if TYPE_CHECKING:
    from edgeinfer.client import Model

_STOP_TYPES = {"length": "limit", "deadline": "limit"}


class LlamaCppReply(Reply):
    """Answers to a /completion or /infill request; one for each prompt and alternative."""

    def __init__(self, body: Body, model: Model, started: Started) -> None:
        self._body, self._started, self._model = body, started, model
        self.streams = started.streams
        self._n_said = [0 for _ in self.streams]  # tokens
        self._unsaid: list[list[Token]] = [[] for _ in self.streams]
        self._lines = [False for _ in self.streams]
        self._silent = body.n_predict == 0  # the prompt is only read; the engine gives a token all the same

    @classmethod
    def begin(cls, body: Body, model: Model) -> Self:
        """Start what a request asks for."""
        return cls(body, model, body.start(model))

    def whole(self, answers: Sequence[Answer]) -> Any:
        """What was said, and all about it; a list if there are several."""
        wholes = [self._chosen(self._whole(index, answer)) for index, answer in enumerate(answers)]
        return wholes[0] if len(wholes) == 1 else wholes

    def of_token(self, index: int, token: Token) -> Iterator[str]:
        """Its text, with the tokens that it consists of."""
        if self._silent:
            return
        self._unsaid[index].append(token)
        self._lines[index] |= "\n" in token.text
        if token.text:
            yield data(self._part(index, token.text))

    def of_progress(self, index: int, event: Progress) -> Iterator[str]:
        """How far the prompt is read, for those who ask."""
        if not self._body.return_progress or not isinstance(event, QueuedEvent | ReadingEvent):
            yield from super().of_progress(index, event)
            return
        progress = prompt_progress(self.streams[index].usage, event)
        yield data({**self._part(index, ""), "prompt_progress": progress})

    def end(self) -> Iterator[str]:
        """All about each answer; its text was said."""
        for index, stream in enumerate(self.streams):
            yield data(self._chosen(self._ending(index, stream, "", [])))

    @staticmethod
    def failed(failure: Failure) -> Iterator[str]:
        """An error as the last event."""
        yield data(failure_body(failure))

    def _whole(self, index: int, answer: Answer) -> dict[str, Any]:
        tokens = [] if self._silent else answer.tokens
        text = self._started.lines[index].kept("".join(token.text for token in tokens))
        self._lines[index] = "\n" in text
        ids = [token.id for token in tokens] if self._body.return_tokens else []
        ending = self._ending(index, answer.stream, text, ids)
        if self._body.n_probs:
            ending["completion_probabilities"] = entries(tokens, self._model.tokenizer)
        return ending

    def _part(self, index: int, text: str) -> dict[str, Any]:
        tokens, self._unsaid[index] = self._unsaid[index], []
        self._n_said[index] += len(tokens)
        part = {
            "index": index,
            "content": text,
            "tokens": [token.id for token in tokens],
            "stop": False,
            "id_slot": -1,
            "tokens_predicted": self._n_said[index],
            "tokens_evaluated": len(self._started.prompts[index]),
        }
        if self._body.n_probs:
            part["completion_probabilities"] = entries(tokens, self._model.tokenizer)
        return part

    def _ending(self, index: int, stream: Stream, text: str, tokens: list[int]) -> dict[str, Any]:
        usage, ids = stream.usage, self._started.prompts[index]
        word = stream.stopped_by
        return {
            "index": index,
            "content": text,
            "tokens": tokens,
            "id_slot": -1,
            "stop": True,
            "model": self._model.name,
            "tokens_predicted": 0 if self._silent else usage.n_generated,
            "tokens_evaluated": usage.n_prompt,
            "generation_settings": settings(self._started.sampling, self._body),
            "prompt": self._model.tokenizer.decode(ids, skip_special=False),
            "has_new_line": self._lines[index],
            "truncated": self._started.truncated,
            "stop_type": "word" if word else _STOP_TYPES.get(stream.finish_reason or "", "eos"),
            "stopping_word": word or "",
            "tokens_cached": usage.n_prompt + max(0, usage.n_generated - 1),
            "timings": timings([usage]),
        }

    def _chosen(self, ending: dict[str, Any]) -> dict[str, Any]:
        """Of the fields those that are asked for."""
        asked = self._body.response_fields
        if not asked:
            return ending
        found = ((path, _at(ending, path)) for path in asked)
        return {path: value[0] for path, value in found if value}


def _at(value: Any, path: str) -> list[Any]:
    """The value at a path as timings/prompt_n, or nothing."""
    for key in path.split("/"):
        if not isinstance(value, Mapping) or key not in value:
            return []
        value = value[key]
    return [value]
