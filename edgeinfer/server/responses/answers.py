"""Responses: whole, or as a sequence of events."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from edgeinfer.server import sse
from edgeinfer.server.failure import Failure
from edgeinfer.server.reply import Reply
from edgeinfer.server.responses.output import Event, Output
from edgeinfer.server.responses.requests import ResponseBody
from edgeinfer.streaming import Answer, Stream, Token

if TYPE_CHECKING:
    from edgeinfer.client import Model


class ResponseReply(Reply):
    """The answer to one request."""

    def __init__(self, body: ResponseBody, model: Model, stream: Stream) -> None:
        self.streams = [stream]
        self._head = _head(body, model)
        self._output = Output(
            encrypts="reasoning.encrypted_content" in body.include,
            named={function.name: function.named for function in body.functions()},
        )
        self._n_events = 0

    @classmethod
    def begin(cls, body: ResponseBody, model: Model) -> Self:
        """Start what a request asks for."""
        return cls(body, model, body.start(model))

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The body of an answer that is not streamed: what the events of a stream come to."""
        [answer] = answers
        for token in answer.tokens:
            list(self._output.add(token))
        list(self._output.close(_status(answer.stream)))
        return self._ended(answer.stream)

    def beginning(self) -> Iterator[str]:
        """A response without output."""
        response = self._response("in_progress")
        yield from self._said([("response.created", {"response": response})])
        yield from self._said([("response.in_progress", {"response": response})])

    def of_token(self, index: int, token: Token) -> Iterator[str]:
        """Its parts, in items of one kind each."""
        yield from self._said(self._output.add(token))

    def end(self) -> Iterator[str]:
        """The whole response."""
        [stream] = self.streams
        yield from self._said(self._output.close(_status(stream)))
        yield from self._said([(f"response.{_status(stream)}", {"response": self._ended(stream)})])

    def failed(self, failure: Failure) -> Iterator[str]:
        """What there is until now, and the error."""
        yield from self._said(self._output.close("incomplete"))
        error = {"code": failure.code, "message": failure.message}
        yield from self._said([("response.failed", {"response": self._response("failed", error=error)})])

    def _said(self, events: Iterable[Event]) -> Iterator[str]:
        for kind, fields in events:
            yield sse.event({"type": kind, "sequence_number": self._n_events, **fields})
            self._n_events += 1

    def _ended(self, stream: Stream) -> dict[str, Any]:
        status = _status(stream)
        details = {"reason": "max_output_tokens"} if status == "incomplete" else None
        usage = _usage(stream, self._output.n_reasoning)
        return self._response(status, incomplete_details=details, usage=usage)

    def _response(self, status: str, **fields: Any) -> dict[str, Any]:
        nothing = {"error": None, "incomplete_details": None, "usage": None}
        return {**self._head, "status": status, "output": self._output.items, **nothing, **fields}


def failed_early(failure: Failure) -> Iterator[str]:
    """An error before there is a response."""
    said = {"code": failure.code, "message": failure.message, "param": failure.param}
    yield sse.event({"type": "error", "sequence_number": 0, **said})


def _head(body: ResponseBody, model: Model) -> dict[str, Any]:
    """What does not change while it is answered: mostly what the request said."""
    said = body.model_dump(
        include={
            *("instructions", "max_output_tokens", "parallel_tool_calls", "reasoning", "temperature"),
            *("tool_choice", "tools", "top_p"),
        }
    )
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "model": model.name,
        **said,
        "text": body.text.model_dump(by_alias=True, exclude_none=True),
        "metadata": (body.model_extra or {}).get("metadata", {}),
        "previous_response_id": None,
        "store": False,
        "truncation": "disabled",
    }


def _status(stream: Stream) -> Literal["completed", "incomplete"]:
    return "completed" if stream.finish_reason in ("stop", "tool_calls") else "incomplete"


def _usage(stream: Stream, n_reasoning: int) -> dict[str, Any]:
    usage = stream.usage
    return {
        "input_tokens": usage.n_prompt,
        "input_tokens_details": {"cached_tokens": usage.n_cached, "cache_write_tokens": 0},
        "output_tokens": usage.n_generated,
        "output_tokens_details": {"reasoning_tokens": n_reasoning},
        "total_tokens": usage.n_prompt + usage.n_generated,
    }
