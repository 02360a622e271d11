"""Ollama's answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgeinfer.server.failure import Failure
from edgeinfer.server.logprobs import entries
from edgeinfer.server.ollama.entries import timestamp
from edgeinfer.server.ollama.failure import failure_body
from edgeinfer.server.ollama.requests import Body, ChatBody
from edgeinfer.server.reply import Reply
from edgeinfer.streaming import Answer, Progress, Stream, Token

if TYPE_CHECKING:
    from edgeinfer.client import Model


class OllamaReply(Reply):
    """The answer to a chat or generate request: JSON lines."""

    media_type = "application/x-ndjson"

    def __init__(self, body: Body, model: Model) -> None:
        self._chat = isinstance(body, ChatBody)
        self._unloads = body.keep_alive == 0
        self._name = model.name
        self._with_logprobs, self._tokenizer = bool(body.logprobs), model.tokenizer

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """All of the text, with what it cost."""
        [answer] = answers
        return {**self._ending(answer.text, answer.stream), **self._logprobs(answer.tokens)}

    def loaded(self) -> dict[str, Any]:
        """To a body that asks for nothing but the model, or that it may go."""
        return {**self._part(""), "done": True, "done_reason": "unload" if self._unloads else "load"}

    def of_token(self, index: int, token: Token) -> Iterator[str]:
        """Its text."""
        logprobs = self._logprobs([token])
        if token.text or logprobs:
            yield _line({**self._part(token.text), **logprobs})

    def of_progress(self, index: int, event: Progress) -> Iterator[str]:
        """Nothing: JSON lines have no comments."""
        yield from ()

    def end(self, streams: Sequence[Stream]) -> Iterator[str]:
        """What it cost."""
        [stream] = streams
        yield _line(self._ending("", stream))

    def failed(self, failure: Failure) -> Iterator[str]:
        """An error as the last line."""
        yield _line(failure_body(failure))

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any]:
        found = entries(tokens, self._tokenizer) if self._with_logprobs else []
        return {"logprobs": found} if found else {}

    def _part(self, text: str) -> dict[str, Any]:
        said: dict[str, Any] = {"response": text}
        if self._chat:
            said = {"message": {"role": "assistant", "content": text}}
        return {"model": self._name, "created_at": timestamp(time.time()), **said, "done": False}

    def _ending(self, text: str, stream: Stream) -> dict[str, Any]:
        """Durations are nanoseconds."""
        usage = stream.usage
        reading, answering = usage.first_token_s - usage.queue_s, usage.total_s - usage.first_token_s
        return {
            **self._part(text),
            "done": True,
            "done_reason": stream.finish_reason,
            "total_duration": _nanoseconds(usage.total_s),
            "load_duration": 0,
            "prompt_eval_count": usage.n_prompt,
            "prompt_eval_duration": _nanoseconds(reading),
            "eval_count": usage.n_generated,
            "eval_duration": _nanoseconds(answering),
        }


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
