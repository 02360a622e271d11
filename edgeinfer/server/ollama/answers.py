"""Ollama's answers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgeinfer.server import sse
from edgeinfer.server.failure import Failure
from edgeinfer.server.logprobs import entries
from edgeinfer.server.ollama.entries import timestamp
from edgeinfer.server.ollama.failure import failure_body
from edgeinfer.server.ollama.requests import Body, ChatBody
from edgeinfer.server.reply import Reply
from edgeinfer.streaming import Answer, Progress, Stream, Token
from edgeinfer.text.parts import CallArguments, CallBegun, Part, ToolCall, joined

if TYPE_CHECKING:
    from edgeinfer.client import Model


class OllamaReply(Reply):
    """The answer to a chat or generate request: JSON lines."""

    media_type = "application/x-ndjson"

    def __init__(self, body: Body, model: Model, load_s: float, stream: Stream) -> None:
        """`load_s`: how long the request waited for the model to be open."""
        self.streams = [stream]
        self._chat = isinstance(body, ChatBody)
        self._calls: list[Part] = []
        self._name, self._load_s = model.name, load_s
        self.sign_of_life = empty_line(body, model.name)
        self._with_logprobs, self._tokenizer = bool(body.logprobs), model.tokenizer

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """All of the text, with what it cost."""
        [answer] = answers
        said = self._said(answer.text, answer.reasoning, answer.tool_calls)
        return {**self._ending(said, answer.stream), **self._logprobs(answer.tokens)}

    def of_token(self, index: int, token: Token) -> Iterator[str]:
        """Its text. Calls come whole, at the end: their arguments are an object."""
        self._calls += [part for part in token.parts if isinstance(part, CallBegun | CallArguments)]
        logprobs = self._logprobs([token])
        if token.text or token.reasoning or logprobs:
            said = self._said(token.text, token.reasoning)
            yield _line({**self._head(), **said, "done": False, **logprobs})

    def of_progress(self, index: int, event: Progress) -> Iterator[str]:
        """Nothing: JSON lines have no comments, and an empty part for each step would be too much."""
        yield from ()

    def end(self) -> Iterator[str]:
        """The calls, and what it cost."""
        [stream] = self.streams
        if self._calls:
            yield _line({**self._head(), **self._said(calls=joined(self._calls)), "done": False})
        yield _line(self._ending(self._said(), stream))

    @staticmethod
    def failed(failure: Failure) -> Iterator[str]:
        """An error as the last line."""
        yield _line(failure_body(failure))

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any]:
        found = entries(tokens, self._tokenizer) if self._with_logprobs else []
        return {"logprobs": found} if found else {}

    def _head(self) -> dict[str, Any]:
        return _head(self._name)

    def _said(self, text: str = "", reasoning: str = "", calls: Sequence[ToolCall] = ()) -> dict[str, Any]:
        """Parts of an answer; a call whose arguments are cut off cannot be told."""
        thoughts = {"thinking": reasoning} if reasoning else {}
        if not self._chat:
            return {"response": text, **thoughts}
        message: dict[str, Any] = {"role": "assistant", "content": text, **thoughts}
        told = list(_told(calls))
        if told:
            message["tool_calls"] = told
        return {"message": message}

    def _ending(self, said: dict[str, Any], stream: Stream) -> dict[str, Any]:
        """Durations are nanoseconds."""
        usage = stream.usage
        reading, answering = usage.first_token_s - usage.queue_s, usage.total_s - usage.first_token_s
        return {
            **self._head(),
            **said,
            "done": True,
            "done_reason": "stop" if stream.finish_reason == "tool_calls" else stream.finish_reason,
            "total_duration": nanoseconds(self._load_s + usage.total_s),
            "load_duration": nanoseconds(self._load_s),
            "prompt_eval_count": usage.n_prompt,
            "prompt_eval_duration": nanoseconds(reading),
            "eval_count": usage.n_generated,
            "eval_duration": nanoseconds(answering),
        }


def done(body: Body, name: str, reason: str) -> dict[str, Any]:
    """The answer to a body that only asks for its model to be loaded or unloaded."""
    return {**_head(name), **_no_text(body), "done": True, "done_reason": reason}


def empty_line(body: Body, name: str) -> str:
    """A part without text, which shows that there is more to come."""
    return _line({**_head(name), **_no_text(body), "done": False})


def _no_text(body: Body) -> dict[str, Any]:
    if isinstance(body, ChatBody):
        return {"message": {"role": "assistant", "content": ""}}
    return {"response": ""}


def _head(name: str) -> dict[str, Any]:
    return {"model": name, "created_at": timestamp(time.time())}


def _told(calls: Sequence[ToolCall]) -> Iterator[dict[str, Any]]:
    for index, call in enumerate(calls):
        with contextlib.suppress(ValueError, RecursionError):
            arguments = json.loads(call.arguments)
            if isinstance(arguments, dict):
                yield {
                    "id": call.id,
                    "function": {"index": index, "name": call.name, "arguments": arguments},
                }


def nanoseconds(seconds: float) -> int:
    """As Ollama writes durations."""
    return max(0, round(seconds * 1e9))


def _line(value: dict[str, Any]) -> str:
    return sse.as_json(value) + "\n"
