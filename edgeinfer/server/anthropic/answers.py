"""Anthropic's answers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

from pydantic_core import from_json

from edgeinfer.server import sse
from edgeinfer.server.anthropic.failure import failure_body
from edgeinfer.server.anthropic.requests import MessagesBody
from edgeinfer.server.failure import Failure
from edgeinfer.server.reply import Reply
from edgeinfer.streaming import Answer, Progress, Stream, Token
from edgeinfer.text.parts import CallArguments, CallBegun, Content, Part, Reasoning

if TYPE_CHECKING:
    from edgeinfer.client import Model

# Anthropic's service signs what its models think. We do not, but clients give back only what is signed.
_SIGNATURE = "edgeinfer"
_STOP_REASONS = {"stop": "end_turn", "tool_calls": "tool_use"}  # max_tokens for all others


class MessageReply(Reply):
    """The answer to one request."""

    def __init__(self, model: Model, stream: Stream) -> None:
        self.streams = [stream]
        self._head = {
            "id": f"msg_{uuid.uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": model.name,
        }
        self._blocks = _Blocks()

    @classmethod
    def begin(cls, body: MessagesBody, model: Model) -> Self:
        """Start what a request asks for."""
        return cls(model, body.start(model))

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        [answer] = answers
        content: list[dict[str, Any]] = []
        if answer.reasoning:
            content.append({"type": "thinking", "thinking": answer.reasoning, "signature": _SIGNATURE})
        if answer.text:
            content.append({"type": "text", "text": answer.text})
        for call in answer.tool_calls:
            # As Anthropic's client reads a stream: of arguments that max_tokens cut what is there.
            arguments = from_json(call.arguments or "{}", allow_partial=True)
            content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
        return {
            **self._head,
            "content": content,
            **_ending(answer.stream),
            "usage": _usage(answer.stream),
        }

    def beginning(self) -> Iterator[str]:
        """A message without content."""
        [stream] = self.streams
        message: dict[str, Any] = {**self._head, "content": [], "stop_reason": None, "stop_sequence": None}
        message["usage"] = _usage(stream)
        yield sse.event({"type": "message_start", "message": message})

    def of_token(self, index: int, token: Token) -> Iterator[str]:
        """Its parts, in blocks of one kind each."""
        for part in token.parts:
            yield from self._blocks.add(part)

    def of_progress(self, index: int, event: Progress) -> Iterator[str]:
        """Something that clients know to ignore."""
        yield sse.event({"type": "ping"})

    def end(self) -> Iterator[str]:
        """Why it ended and what it cost."""
        [stream] = self.streams
        yield from self._blocks.close()
        yield sse.event({"type": "message_delta", "delta": _ending(stream), "usage": _usage(stream)})
        yield sse.event({"type": "message_stop"})

    @staticmethod
    def failed(failure: Failure) -> Iterator[str]:
        """An error as the last event."""
        yield sse.event(failure_body(failure))


class _Blocks:
    """The blocks of a streamed message: parts in, events out."""

    def __init__(self) -> None:
        self._index = -1  # of the block that is open, or was last
        self._open: str | None = None  # its type

    def add(self, part: Part) -> Iterator[str]:
        """The events of the next part."""
        match part:
            case Reasoning(text):
                yield from self._begin("thinking", {"thinking": "", "signature": ""})
                yield self._delta({"type": "thinking_delta", "thinking": text})
            case Content(text):
                yield from self._begin("text", {"text": ""})
                yield self._delta({"type": "text_delta", "text": text})
            case CallBegun():
                yield from self.close()
                yield from self._begin("tool_use", {"id": part.id, "name": part.name, "input": {}})
            case CallArguments():
                yield self._delta({"type": "input_json_delta", "partial_json": part.text})

    def close(self) -> Iterator[str]:
        """The end of the block that is open."""
        if self._open == "thinking":
            yield self._delta({"type": "signature_delta", "signature": _SIGNATURE})
        if self._open is not None:
            yield sse.event({"type": "content_block_stop", "index": self._index})
        self._open = None

    def _begin(self, kind: str, fields: dict[str, Any]) -> Iterator[str]:
        """A block of this kind, if none is open."""
        if self._open == kind:
            return
        yield from self.close()
        self._open = kind
        self._index += 1
        block = {"type": kind, **fields}
        yield sse.event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> str:
        return sse.event({"type": "content_block_delta", "index": self._index, "delta": delta})


def _ending(stream: Stream) -> dict[str, Any]:
    if stream.stopped_by is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": stream.stopped_by}
    reason = _STOP_REASONS.get(stream.finish_reason or "", "max_tokens")
    return {"stop_reason": reason, "stop_sequence": None}


def _usage(stream: Stream) -> dict[str, int]:
    """Until now. What was found computed is no part of input_tokens; reading the rest is what saves it."""
    usage = stream.usage
    return {
        "input_tokens": usage.n_prompt - usage.n_cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.n_cached,
        "output_tokens": usage.n_generated,
    }
