"""OpenAI's answers."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import edgeinfer
from edgeinfer.server.failure import Failure
from edgeinfer.server.openai.failure import failure_body
from edgeinfer.server.openai.requests import ChatBody, CompletionBody
from edgeinfer.server.reply import Reply
from edgeinfer.streaming import Answer, Stream, Token

if TYPE_CHECKING:
    from edgeinfer.client import Model
    from edgeinfer.engine.events import FinishReason, Usage
    from edgeinfer.text.tokenizer import Tokenizer

_DONE = "data: [DONE]\n\n"


class OpenAiReply(Reply):
    """Answers to a chat or completions request.

    Args:
        id: unique; its prefix is added.
    """

    def __init__(self, id: str, body: ChatBody | CompletionBody, model: Model) -> None:
        self._body, self._tokenizer = body, model.tokenizer
        self._chat = isinstance(body, ChatBody)
        self._with_logprobs = bool(body.logprobs) if self._chat else body.logprobs is not None
        self._with_usage = body.stream_options is not None and body.stream_options.include_usage
        self._head = _head(id, body, model)
        self._chunk_head = {
            **self._head,
            "object": "chat.completion.chunk" if self._chat else "text_completion",
        }

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        shape = _chat_choice if self._chat else _text_choice
        return {
            **self._head,
            "object": "chat.completion" if self._chat else "text_completion",
            "choices": [
                {
                    "index": i,
                    "finish_reason": answer.stream.finish_reason,
                    **shape(answer, self._tokenizer, self._with_logprobs),
                }
                for i, answer in enumerate(answers)
            ],
            "usage": _usage([answer.stream.usage for answer in answers], self._body.n),
        }

    def beginning(self) -> Iterator[str]:
        """Before the first token of any choice."""
        if self._chat:
            for index in range(self._body.n):
                yield self._chunk({"index": index, "delta": {"role": "assistant", "content": ""}})

    def of_token(self, index: int, token: Token) -> Iterator[str]:
        """Text, and at the end why it ended."""
        logprobs = None
        if self._with_logprobs:
            pieces = list(_pieces([token], self._tokenizer))
            logprobs = _chat_logprobs(pieces) if self._chat else _text_logprobs(pieces)
        if token.text or logprobs is not None:
            text = {"delta": {"content": token.text}} if self._chat else {"text": token.text}
            yield self._chunk({"index": index, **text, "logprobs": logprobs})
        if token.finish_reason is not None:
            empty: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
            yield self._chunk({"index": index, **empty}, token.finish_reason)

    def end(self, streams: Sequence[Stream]) -> Iterator[str]:
        """After the last token of all choices."""
        if self._with_usage:
            usage = _usage([stream.usage for stream in streams], self._body.n)
            yield _data({**self._chunk_head, "choices": [], "usage": usage})
        yield _DONE

    def failed(self, failure: Failure) -> Iterator[str]:
        """An error as one more piece."""
        yield _data(failure_body(failure))
        yield _DONE

    def _chunk(self, choice: dict[str, Any], finish: FinishReason | None = None) -> str:
        return _data({**self._chunk_head, "choices": [{"logprobs": None, **choice, "finish_reason": finish}]})


def _data(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _head(id: str, body: ChatBody | CompletionBody, model: Model) -> dict[str, Any]:
    return {
        "id": f"{'chatcmpl' if isinstance(body, ChatBody) else 'cmpl'}-{id}",
        "created": int(time.time()),
        "model": model.name,
        "system_fingerprint": f"edgeinfer-{edgeinfer.__version__}",
    }


def _chat_choice(choice: Answer, tokenizer: Tokenizer, with_logprobs: bool) -> dict[str, Any]:
    message = {"role": "assistant", "content": choice.text, "refusal": None}
    logprobs = _chat_logprobs(_pieces(choice.tokens, tokenizer)) if with_logprobs else None
    return {"message": message, "logprobs": logprobs}


def _text_choice(choice: Answer, tokenizer: Tokenizer, with_logprobs: bool) -> dict[str, Any]:
    logprobs = _text_logprobs(_pieces(choice.tokens, tokenizer)) if with_logprobs else None
    return {"text": choice.text, "logprobs": logprobs}


_Piece = tuple[str, bytes, float]  # text, bytes, log-probability


def _pieces(tokens: Sequence[Token], tokenizer: Tokenizer) -> list[_Piece]:
    """Of each token but the one that ends an answer."""
    ids = [(token, tokenizer.token_bytes(token.id)) for token in tokens if token.id not in tokenizer.eog_ids]
    return [(piece.decode("utf-8", "replace"), piece, token.logprob) for token, piece in ids]


def _chat_logprobs(pieces: list[_Piece]) -> dict[str, Any]:
    content = [
        {"token": text, "bytes": list(piece), "logprob": logprob, "top_logprobs": []}
        for text, piece, logprob in pieces
    ]
    return {"content": content, "refusal": None}


def _text_logprobs(pieces: list[_Piece]) -> dict[str, Any]:
    texts = [text for text, _, _ in pieces]
    return {
        "tokens": texts,
        "token_logprobs": [logprob for _, _, logprob in pieces],
        "top_logprobs": None,
        "text_offset": [0, *itertools.accumulate(map(len, texts))][:-1],
    }


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
