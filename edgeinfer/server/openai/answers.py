"""Bodies of OpenAI's answers, from finished streams."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import edgeinfer
from edgeinfer.server.openai.requests import ChatBody, CompletionBody
from edgeinfer.streaming import Answer, Stream

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.text.tokenizer import Tokenizer


async def finished(streams: Sequence[Stream]) -> list[Answer]:
    """Read streams to their ends, all at once. Raises what the first that fails raises; the others end."""
    try:
        return await asyncio.gather(*map(_finished, streams))
    finally:
        for stream in streams:
            stream.cancel()


async def _finished(stream: Stream) -> Answer:
    return Answer([token async for token in stream], stream)


def answer_body(
    id: str, body: ChatBody | CompletionBody, choices: Sequence[Answer], model: Model
) -> dict[str, Any]:
    """The body of the answer to a request.

    Args:
        id: unique; its prefix is added.
        choices: of the streams that `body.start` gave.
    """
    chat = isinstance(body, ChatBody)
    shape = _chat_choice if chat else _text_choice
    with_logprobs = bool(body.logprobs) if chat else body.logprobs is not None
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{id}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": model.name,
        "system_fingerprint": f"edgeinfer-{edgeinfer.__version__}",
        "choices": [
            {"index": i, "finish_reason": c.stream.finish_reason, **shape(c, model.tokenizer, with_logprobs)}
            for i, c in enumerate(choices)
        ],
        "usage": _usage(choices, body.n),
    }


def _chat_choice(choice: Answer, tokenizer: Tokenizer, with_logprobs: bool) -> dict[str, Any]:
    logprobs = None
    if with_logprobs:
        content = [
            {"token": text, "bytes": list(piece), "logprob": logprob, "top_logprobs": []}
            for text, piece, logprob in _pieces(choice, tokenizer)
        ]
        logprobs = {"content": content, "refusal": None}
    message = {"role": "assistant", "content": choice.text, "refusal": None}
    return {"message": message, "logprobs": logprobs}


def _text_choice(choice: Answer, tokenizer: Tokenizer, with_logprobs: bool) -> dict[str, Any]:
    logprobs = None
    if with_logprobs:
        pieces = list(_pieces(choice, tokenizer))
        texts = [text for text, _, _ in pieces]
        logprobs = {
            "tokens": texts,
            "token_logprobs": [logprob for _, _, logprob in pieces],
            "top_logprobs": None,
            "text_offset": [0, *itertools.accumulate(map(len, texts))][:-1],
        }
    return {"text": choice.text, "logprobs": logprobs}


def _pieces(choice: Answer, tokenizer: Tokenizer) -> Iterator[tuple[str, bytes, float]]:
    """(text, bytes, log-probability) of each token but the one that ends the answer."""
    for token in choice.tokens:
        if token.id not in tokenizer.eog_ids:
            piece = tokenizer.token_bytes(token.id)
            yield piece.decode("utf-8", "replace"), piece, token.logprob


def _usage(choices: Sequence[Answer], n: int) -> dict[str, Any]:
    """Tokens of each prompt once, whatever the number of its choices."""
    first = [choice.stream.usage for choice in choices[::n]]
    n_prompt, n_generated = sum(u.n_prompt for u in first), sum(len(c.tokens) for c in choices)
    return {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_generated,
        "total_tokens": n_prompt + n_generated,
        "prompt_tokens_details": {"cached_tokens": sum(u.n_cached for u in first)},
    }
