"""Harmony, the form of gpt-oss: messages with headers, `<|channel|>analysis<|message|>...<|end|>`.

https://cookbook.openai.com/articles/openai-harmony
"""

from __future__ import annotations

import re

from edgeinfer.text.toolcalls.source import Source, Steps

_BEGINS = ("<|start|>", "<|channel|>")
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_FUNCTION = re.compile(r"to=functions\.([^\s<]+)")


def harmony(source: Source) -> Steps[None]:
    """A whole answer: analysis is reasoning, what is sent to functions calls them, all else is content."""
    # the prompt ends within the header of the first message
    begins: tuple[str, ...] = (*_BEGINS, "to=functions.")
    while mark := (yield from source.until(begins, source.content)):
        begins = _BEGINS
        pieces = [mark]
        if not (yield from source.until(("<|message|>",), pieces.append)):
            return
        header = "".join(pieces)
        channel, function = _CHANNEL.search(header), _FUNCTION.search(header)
        if function and source.tools:
            source.begin_call(function[1])
            take = source.arguments
        else:
            take = source.reasoning if channel and channel[1] == "analysis" else source.content
        end = yield from source.until((*_ENDS, *_BEGINS), take)
        if end in _BEGINS:
            source.unread(end)
        if source.enough:
            return
