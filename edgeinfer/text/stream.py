"""Token ids in, pieces of text out: whole characters only, and nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Collection, Sequence

from edgeinfer.errors import InvalidRequest
from edgeinfer.text.tokenizer import Tokenizer


class StopString:
    """Follows a text character by character for one string (Knuth, Morris and Pratt 1977)."""

    def __init__(self, text: str) -> None:
        if not text:
            raise InvalidRequest("a stop string is empty")
        self.text = text
        self.n_matched = 0  # so many characters of the string are what the text now ends in
        self._fallback = self._fallbacks(text)

    def feed(self, character: str) -> bool:
        """Takes the next character. True: the text ends in the stop string (feed no more)."""
        n = self.n_matched
        while n > 0 and self.text[n] != character:
            n = self._fallback[n - 1]
        self.n_matched = n + 1 if self.text[n] == character else 0
        return self.n_matched == len(self.text)

    @staticmethod
    def _fallbacks(text: str) -> list[int]:
        """[i]: the longest proper prefix of text[: i + 1] that is also its suffix."""
        out = [0] * len(text)
        n = 0
        for i in range(1, len(text)):
            while n > 0 and text[i] != text[n]:
                n = out[n - 1]
            n += text[i] == text[n]
            out[i] = n
        return out


class TextStream:
    """The text of one generation, as its tokens come.

    What `push` and `finish` give, joined, is `tokenizer.decode` of all tokens up to the first stop string.
    How the tokens are cut changes nothing: of several stop strings the one that is complete first counts,
    of two complete at once the longer.

    Attributes:
        stopped_by: the stop string that was met, or None. After it every push gives "".
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stop: Sequence[str] = (),
        *,
        skip_special: bool = True,
        visible: Collection[int] = (),
        continuation: bool = True,
    ) -> None:
        """`skip_special`, but for those in `visible`, and `continuation` mean what they mean to
        `Tokenizer.decode`.
        """
        self.stopped_by: str | None = None
        self._tokenizer = tokenizer
        self._stops = [StopString(text) for text in dict.fromkeys(stop)]
        self._skip_special = skip_special
        self._visible = visible
        self._strip_space = tokenizer.strips_leading_space and not continuation
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def push(self, token: int) -> str:
        """The text that is certain now that this token has come; often one piece, sometimes none."""
        hidden = self._skip_special and self._tokenizer.is_special(token) and token not in self._visible
        if self.stopped_by is not None or hidden:
            return ""
        data = self._tokenizer.token_bytes(token)
        if self._strip_space and data:
            data = data.removeprefix(b" ")
            self._strip_space = False
        return self._release(self._decoder.decode(data))

    def finish(self) -> str:
        """The rest: what looked like the beginning of a stop string, and U+FFFD for half a character."""
        text = self._release(self._decoder.decode(b"", final=True))
        rest, self._held = self._held, ""
        return text + rest if self.stopped_by is None else text

    def _release(self, text: str) -> str:
        """Adds `text` and gives what can no longer become part of a stop string."""
        if not self._stops or self.stopped_by is not None:
            return "" if self.stopped_by is not None else text
        for i, character in enumerate(text):
            met = [stop.text for stop in self._stops if stop.feed(character)]
            if met:
                self.stopped_by = max(met, key=len)
                whole = self._held + text[: i + 1]
                self._held = ""
                return whole[: len(whole) - len(self.stopped_by)]
        whole = self._held + text
        certain = len(whole) - max(stop.n_matched for stop in self._stops)
        self._held = whole[certain:]
        return whole[:certain]
