"""The items of an answer as they grow: tokens in, events out."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from edgeinfer.streaming import Token
from edgeinfer.text.parts import CallArguments, CallBegun, Content, Part, Reasoning

Event = tuple[str, dict[str, Any]]  # its type and its fields
Status = Literal["in_progress", "completed", "incomplete"]

_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc"}  # of ids
_PARTS = {"message": "output_text", "reasoning": "reasoning_text"}  # what the content consists of
_FIELDS: dict[str, dict[str, Any]] = {
    "message": {"role": "assistant", "content": []},
    "reasoning": {"summary": [], "content": []},
}
_LOGPROBS: dict[str, dict[str, Any]] = {"message": {"logprobs": []}, "reasoning": {}}  # none, where expected


class Output:
    """The items of one answer: what the model thinks, says and calls.

    Args:
        encrypts: reasoning is also given in the field that clients without a memory of their own send back.
            It is as readable there as beside it.
        named: the fields by which the client knows a function, by the name that the model knows.

    Attributes:
        items: complete but for the last one, which is complete once it is closed.
        n_reasoning: tokens of reasoning.
    """

    def __init__(self, *, encrypts: bool, named: Mapping[str, Mapping[str, str]]) -> None:
        self.items: list[dict[str, Any]] = []
        self.n_reasoning = 0
        self._encrypts, self._named = encrypts, named
        self._texts: list[str] = []  # of the last item
        self._is_open = False

    def add(self, token: Token) -> Iterator[Event]:
        """What the next token brings."""
        self.n_reasoning += any(isinstance(part, Reasoning) for part in token.parts)
        for part in token.parts:
            yield from self._add(part)

    def close(self, status: Status = "completed") -> Iterator[Event]:
        """The end of the last item, if it is open."""
        if not self._is_open:
            return
        self._is_open = False
        item, text = self.items[-1], "".join(self._texts)
        if item["type"] == "function_call":
            item["arguments"] = text
            whole = {"name": item["name"], "arguments": text}
            yield "response.function_call_arguments.done", {**self._place(), **whole}
        else:
            part = _part(item["type"], text)
            item["content"] = [part]
            said = {"text": text, **_LOGPROBS[item["type"]]}
            yield f"response.{part['type']}.done", {**self._place_of_text(), **said}
            yield "response.content_part.done", {**self._place_of_text(), "part": part}
        if item["type"] == "reasoning" and self._encrypts:
            item["encrypted_content"] = text
        item["status"] = status
        yield "response.output_item.done", {"output_index": len(self.items) - 1, "item": item}

    def _add(self, part: Part) -> Iterator[Event]:
        match part:
            case Content(text):
                yield from self._say("message", text)
            case Reasoning(text):
                yield from self._say("reasoning", text)
            case CallBegun():
                yield from self.close()
                named = self._named.get(part.name, {"name": part.name})
                yield self._begin("function_call", {"call_id": part.id, **named, "arguments": ""})
            case CallArguments():
                self._texts.append(part.text)
                yield "response.function_call_arguments.delta", {**self._place(), "delta": part.text}

    def _say(self, kind: str, text: str) -> Iterator[Event]:
        if not self._is_open or self.items[-1]["type"] != kind:
            yield from self.close()
            yield self._begin(kind, _FIELDS[kind])
            yield "response.content_part.added", {**self._place_of_text(), "part": _part(kind, "")}
        self._texts.append(text)
        delta = {"delta": text, **_LOGPROBS[kind]}
        yield f"response.{_PARTS[kind]}.delta", {**self._place_of_text(), **delta}

    def _begin(self, kind: str, fields: dict[str, Any]) -> Event:
        id = f"{_PREFIXES[kind]}_{uuid.uuid4().hex}"
        item = {"id": id, "type": kind, "status": "in_progress", **fields}
        self.items.append(item)
        self._texts.clear()
        self._is_open = True
        return "response.output_item.added", {"output_index": len(self.items) - 1, "item": item}

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1}

    def _place_of_text(self) -> dict[str, Any]:
        return {**self._place(), "content_index": 0}


def _part(kind: str, text: str) -> dict[str, Any]:
    annotations: dict[str, Any] = {"annotations": []} if kind == "message" else {}
    return {"type": _PARTS[kind], "text": text, **annotations, **_LOGPROBS[kind]}
