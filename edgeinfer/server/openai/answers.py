"""OpenAI's answers."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

import edgeinfer
from edgeinfer.engine.events import QueuedEvent, ReadingEvent, ScoredEvent, ScoredToken
from edgeinfer.server.failure import Failure
from edgeinfer.server.logprobs import entries
from edgeinfer.server.openai.failure import failure_body
from edgeinfer.server.openai.requests import Body, CompletionBody
from edgeinfer.server.openai.text_logprobs import TextLogprobs
from edgeinfer.server.reply import Reply
from edgeinfer.server.sse import data
from edgeinfer.server.timings import prompt_progress, timings
from edgeinfer.streaming import Answer, Finish, Progress, Stream, Token
from edgeinfer.text.parts import CallArguments, CallBegun, Content

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.engine.events import Usage

_DONE = "data: [DONE]\n\n"


class OpenAiReply(Reply):
    """Answers to a chat or completions request.

    Args:
        id: unique; its prefix is added.
    """

    def __init__(self, id: str, body: Body, model: Model, streams: Sequence[Stream]) -> None:
        self._body, self._tokenizer, self.streams = body, model.tokenizer, streams
        self._chat = body.as_message
        self._echoes = isinstance(body, CompletionBody) and bool(body.echo)
        self._text_logprobs: dict[int, TextLogprobs] = {}
        self._nothing: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
        self._with_usage = body.stream_options is not None and body.stream_options.include_usage
        self._head = _head(id, body, model)
        self._chunk_head = {
            **self._head,
            "object": "chat.completion.chunk" if self._chat else "text_completion",
        }

    @classmethod
    def begin(cls, body: Body, model: Model) -> Self:
        """Start what a request asks for."""
        return cls(uuid.uuid4().hex, body, model, body.start(model))

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        return {
            **self._head,
            "object": "chat.completion" if self._chat else "text_completion",
            "choices": [
                {"index": i, **_finish(answer.stream.finish_reason), **self._choice(i, answer)}
                for i, answer in enumerate(answers)
            ],
            **self._cost([answer.stream.usage for answer in answers]),
        }

    def beginning(self) -> Iterator[str]:
        """Before the first token of any choice."""
        for index in range(len(self.streams)):
            if self._chat:
                yield self._chunk({"index": index, "delta": {"role": "assistant", "content": ""}})
            if self._echoes:
                yield self._chunk({"index": index, "text": self._prompt_text(index)})

    def of_progress(self, index: int, event: Progress) -> Iterator[str]:
        """The prompt's log-probabilities and how far it is, if that is asked for, else a comment."""
        if isinstance(event, ScoredEvent) and self._body.with_logprobs:
            yield self._chunk({"index": index, "text": "", "logprobs": self._logprobs(index, event.tokens)})
        elif isinstance(event, QueuedEvent | ReadingEvent) and self._body.return_progress:
            progress = prompt_progress(self.streams[index].usage, event)
            yield self._chunk({"index": index, **self._nothing}, prompt_progress=progress)
        else:
            yield from super().of_progress(index, event)

    def of_token(self, index: int, token: Token) -> Iterator[str]:
        """Text."""
        logprobs = self._logprobs(index, [token])
        said = {"delta": _delta(token)} if self._chat else {"text": token.text}
        if any(said.values()) or logprobs is not None:
            timed: dict[str, Any] = {}
            if self._body.timings_per_token:
                timed["timings"] = timings([self.streams[index].usage])
            yield self._chunk({"index": index, **said, "logprobs": logprobs}, **timed)

    def end(self) -> Iterator[str]:
        """After the last token of all choices: why each ended, and what they cost."""
        cost = self._cost([stream.usage for stream in self.streams])
        for index, stream in enumerate(self.streams):
            last = index == len(self.streams) - 1 and not self._with_usage
            timed = {"timings": cost["timings"]} if last else {}
            yield self._chunk({"index": index, **self._nothing}, stream.finish_reason, **timed)
        if self._with_usage:
            yield data({**self._chunk_head, "choices": [], **cost})
        yield _DONE

    @staticmethod
    def failed(failure: Failure) -> Iterator[str]:
        """An error as one more piece."""
        yield data(failure_body(failure))
        yield _DONE

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        if self._chat:
            return {"message": _message(answer), "logprobs": self._logprobs(index, answer.tokens)}
        text = self._prompt_text(index) + answer.text if self._echoes else answer.text
        return {"text": text, "logprobs": self._logprobs(index, [*answer.stream.scored, *answer.tokens])}

    def _logprobs(self, index: int, tokens: Sequence[Token | ScoredToken]) -> dict[str, Any] | None:
        """Of the next tokens of a choice."""
        if not self._body.with_logprobs:
            return None
        if self._chat:
            return {"content": entries(cast("Sequence[Token]", tokens), self._tokenizer), "refusal": None}
        if index not in self._text_logprobs:
            made = TextLogprobs(self._tokenizer, self._body.n_top, begins=self._echoes)
            self._text_logprobs[index] = made
        return self._text_logprobs[index].of(tokens)

    def _prompt_text(self, index: int) -> str:
        prompt = self._body.prompts()[index // self._body.n]
        return prompt if isinstance(prompt, str) else self._tokenizer.decode(cast("list[int]", prompt))

    def _chunk(self, choice: dict[str, Any], finish: Finish | None = None, **more: Any) -> str:
        choices = [{"logprobs": None, **choice, **_finish(finish)}]
        return data({**self._chunk_head, "choices": choices, **more})

    def _cost(self, usages: Sequence[Usage]) -> dict[str, Any]:
        return {"usage": _usage(usages, self._body.n), "timings": timings(usages)}


def _head(id: str, body: Body, model: Model) -> dict[str, Any]:
    return {
        "id": f"{'chatcmpl' if body.as_message else 'cmpl'}-{id}",
        "created": int(time.time()),
        "model": model.name,
        "system_fingerprint": f"edgeinfer-{edgeinfer.__version__}",
    }


def _finish(reason: Finish | None) -> dict[str, Any]:
    """OpenAI knows no deadline, and strict clients refuse what it does not know; `stop_reason` is vLLM's."""
    if reason == "deadline":
        return {"finish_reason": "length", "stop_reason": reason}
    return {"finish_reason": reason}


def _message(answer: Answer) -> dict[str, Any]:
    calls = [_call(call.id, call.name, call.arguments) for call in answer.tool_calls]
    content = None if calls and not answer.text else answer.text
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    return message


def _delta(token: Token) -> dict[str, Any]:
    """What a token adds to a message."""
    delta: dict[str, Any] = {}
    calls = []
    for part in token.parts:
        if isinstance(part, CallBegun):
            calls.append({"index": part.index, **_call(part.id, part.name, "")})
        elif isinstance(part, CallArguments):
            calls.append({"index": part.index, "function": {"arguments": part.text}})
        else:
            name = "content" if isinstance(part, Content) else "reasoning_content"
            delta[name] = delta.get(name, "") + part.text
    return delta | ({"tool_calls": calls} if calls else {})


def _call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _usage(usages: Sequence[Usage], n: int) -> dict[str, Any]:
    """Tokens of each prompt once, whatever the number of its choices."""
    first = usages[::n]
    n_prompt, n_generated = sum(u.n_prompt for u in first), sum(u.n_generated for u in usages)
    return {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_generated,
        "total_tokens": n_prompt + n_generated,
        "prompt_tokens_details": {"cached_tokens": sum(u.n_cached for u in first)},
    }
