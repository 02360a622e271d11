"""Log-probabilities of tokens, as OpenAI's chat, Ollama and llama.cpp spell them; ids are llama.cpp's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeinfer.streaming import Token
    from edgeinfer.text.tokenizer import Tokenizer


def text_of(token: int, tokenizer: Tokenizer) -> str:
    """Its bytes as text; U+FFFD where a character is shared with its neighbours."""
    return tokenizer.token_bytes(token).decode("utf-8", "replace")


def entries(tokens: Iterable[Token], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """One for each token but that which ends an answer."""
    return [
        {
            **_entry(token.id, token.logprob, tokenizer),
            "top_logprobs": [_entry(id, logprob, tokenizer) for id, logprob in token.top],
        }
        for token in tokens
        if token.id not in tokenizer.eog_ids
    ]


def _entry(token: int, logprob: float, tokenizer: Tokenizer) -> dict[str, Any]:
    piece = list(tokenizer.token_bytes(token))
    return {"id": token, "token": text_of(token, tokenizer), "logprob": logprob, "bytes": piece}
