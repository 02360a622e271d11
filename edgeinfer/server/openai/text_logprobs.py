"""The older log-probabilities, of completions: lists side by side, with offsets into the text."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from edgeinfer.engine.events import ScoredToken
from edgeinfer.server.logprobs import text_of
from edgeinfer.streaming import Token

if TYPE_CHECKING:
    from edgeinfer.text.tokenizer import Tokenizer


class TextLogprobs:
    """Those of one choice, which may come in pieces.

    Other than in a chat the token that ends an answer is among them: who scores texts with `echo` takes the
    last one for a generated one.

    Args:
        n_top: how many of the likeliest tokens are named.
        begins: the text begins with these tokens; it has no space that the tokenizer put before it.
    """

    def __init__(self, tokenizer: Tokenizer, n_top: int, *, begins: bool) -> None:
        self._tokenizer, self._n_top = tokenizer, n_top
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = -1 if begins and tokenizer.strips_leading_space else 0

    def of(self, tokens: Iterable[Token | ScoredToken]) -> dict[str, Any]:
        """The next ones."""
        tokens = list(tokens)
        return {
            "tokens": [text_of(token.id, self._tokenizer) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [self._likeliest(token) for token in tokens] if self._n_top else None,
            "text_offset": [self._next_offset(token.id) for token in tokens],
        }

    def _likeliest(self, token: Token | ScoredToken) -> dict[str, float] | None:
        """The token itself and the likeliest in its place; of several with one spelling the likeliest."""
        if token.logprob is None:
            return None
        named: dict[str, float] = {}
        for id, logprob in (*token.top, (token.id, token.logprob)):
            named.setdefault(text_of(id, self._tokenizer), logprob)
        return named

    def _next_offset(self, token: int) -> int:
        offset = max(0, self._offset)
        if not self._tokenizer.is_special(token):
            self._offset += len(self._characters.decode(self._tokenizer.token_bytes(token)))
        return offset
