"""Reads the answers of a chat: content, reasoning and calls of tools."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from edgeinfer.text.conversation import Conversation
from edgeinfer.text.parts import Part
from edgeinfer.text.stream import TextStream
from edgeinfer.text.tokenizer import Tokenizer
from edgeinfer.text.toolcalls.source import Source, Steps
from edgeinfer.text.toolcalls.syntax import Syntax


class ChatReader:
    """A `Reader` with a parser between text and parts.

    What the parts are does not depend on how the text is cut into tokens.
    """

    def __init__(self, text: TextStream, source: Source, parser: Steps[None]) -> None:
        """`parser` parses `source`."""
        self._text, self._source, self._parser = text, source, parser
        self._over = False

    @property
    def stopped_by(self) -> str | None:
        """See `Reader`."""
        return self._text.stopped_by

    @property
    def done(self) -> bool:
        """See `Reader`."""
        return self._over or self._text.stopped_by is not None

    def push(self, token: int) -> Sequence[Part]:
        """See `Reader`."""
        self._feed(self._text.push(token))
        return self.finish() if self.done else self._source.found()

    def finish(self) -> Sequence[Part]:
        """See `Reader`."""
        self._feed(self._text.finish())
        self._source.end()
        next(self._parser, None)
        return self._source.found(rest=True)

    def _feed(self, text: str) -> None:
        if text and not self._over:
            self._source.feed(text)
            self._over = next(self._parser, self) is self  # a parser that goes on yields None


def chat_reader(
    syntax: Syntax,
    tokenizer: Tokenizer,
    conversation: Conversation,
    stop: Sequence[str] = (),
    *,
    thinks: bool = False,
    salt: bytes = b"",
) -> ChatReader:
    """For the answer to a conversation.

    Args:
        stop: strings that end it.
        thinks: its prompt ends in the beginning of reasoning.
        salt: with other bytes the calls have other ids.
    """
    ids = (tokenizer.find(mark) for mark in syntax.visible)
    visible = {token for token in ids if token is not None} - tokenizer.eog_ids
    functions = (tool["function"] for tool in conversation.callable_tools)
    source = Source(
        {function["name"]: function["parameters"] for function in functions},
        most_calls=None if conversation.parallel_tool_calls else 1,
        salt=hashlib.blake2b(salt).digest(),
    )
    text = TextStream(tokenizer, stop, visible=visible, continuation=False)
    return ChatReader(text, source, syntax.parser(source, thinks=thinks))
