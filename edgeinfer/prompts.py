"""What is asked of a model, as tokens: texts, chats, gaps to fill; and how an answer to it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from edgeinfer.errors import ContextLengthExceeded, InvalidRequest
from edgeinfer.kv.tokens import common_prefix
from edgeinfer.text.conversation import Conversation, conversation_of
from edgeinfer.text.infill import Framed, Infill, frame
from edgeinfer.text.messages import Message

if TYPE_CHECKING:
    from edgeinfer.defaults import Defaults
    from edgeinfer.text.grammar import Grammar
    from edgeinfer.text.reading import Reader
    from edgeinfer.text.template import ChatTemplate
    from edgeinfer.text.tokenizer import Tokenizer
    from edgeinfer.text.toolcalls.syntax import Syntax, Thinking

FindTemplate = Callable[["str | None"], "ChatTemplate"]
AnyPrompt = str | Sequence[int] | Infill | Sequence[Message] | Conversation


@dataclass(frozen=True)
class Prompt:
    """Tokens to go on from."""

    ids: list[int]
    conversation: Conversation | None = None  # that they say; None: a text to go on with
    thinking: Thinking = "over"  # where the model's reasoning is at its end


class Prompts:
    """Makes prompts for one model, by its tokenizer and its chat template."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        find_template: FindTemplate,
        defaults: Defaults,
        *,
        keep_headers: bool,
    ) -> None:
        """For a model of these.

        Args:
            find_template: gives one of this source, for None that of the file.
            keep_headers: read the headers of agents that change with each request too.
        """
        self._tokenizer = tokenizer
        self._find_template = find_template
        self._defaults = defaults
        self._keep_headers = keep_headers

    @cached_property
    def template(self) -> ChatTemplate:
        """The chat template. Raises TemplateError if the file has none."""
        return self._find_template(self._defaults.template)

    def told(self, defaults: Defaults) -> Prompts:
        """For the same model, told something else."""
        return Prompts(self._tokenizer, self._find_template, defaults, keep_headers=self._keep_headers)

    @cached_property
    def _family(self) -> Syntax:
        from edgeinfer.text.toolcalls.families import family_of

        return family_of(self.template.source)

    def read(self, prompt: AnyPrompt, limit: int) -> Prompt:
        """Anything that can be asked, as tokens.

        Args:
            limit: most tokens; only what is certain to have more is refused here.

        Raises:
            ContextLengthExceeded, TemplateError, InvalidRequest.
        """
        if isinstance(prompt, str):
            self.refuse_endless([prompt], limit)
            return Prompt(self._tokenizer.encode(prompt))
        if isinstance(prompt, Infill):
            return Prompt(self.infill(prompt, limit).ids)
        if isinstance(prompt, Conversation) or any(isinstance(item, Mapping) for item in prompt):
            asked = conversation_of(cast("Sequence[Message] | Conversation", prompt))
            said = (message.get("content") for message in asked.messages)
            # Many templates leave out the white space around it.
            self.refuse_endless([text.strip() for text in said if isinstance(text, str)], limit)
            return self.chat(asked)
        return Prompt([int(i) for i in cast("Sequence[int]", prompt)])

    def chat_text(self, messages: Sequence[Message] | Conversation) -> str:
        """What the template makes of these messages, or this conversation."""
        from edgeinfer.text.prompt import chat_prompt

        asked = conversation_of(messages).beginning_with(self._defaults.system, self._defaults.messages)
        return chat_prompt(self.template, asked, keep_headers=self._keep_headers)

    def chat(self, asked: Conversation) -> Prompt:
        """A conversation, up to where the model answers."""
        text = self.chat_text(asked)
        ids = self._tokenizer.encode(text, add_special=False, parse_special=True)
        bos = self._tokenizer.bos_id
        if self._tokenizer.add_bos and bos is not None and ids[:1] != [bos]:
            ids.insert(0, bos)
        return Prompt(ids, asked, self._family.thinking_in(text, self.template.source))

    def infill(self, infill: Infill, limit: int) -> Framed:
        """A gap with the text around it.

        Raises:
            InvalidRequest: the model has no tokens for that.
            ContextLengthExceeded: prefix and suffix have no room.
        """
        self.refuse_endless([infill.prefix, infill.beginning, infill.suffix], limit)
        return frame(self._tokenizer, infill, limit)

    def to_embed(self, text: str | Sequence[int], most: int | None, limit: int) -> list[int]:
        """A text, or the first `most` tokens of a longer one, with its EOS.

        Raises:
            ContextLengthExceeded: it is certain to have more than `limit`, and all of it is wanted.
            InvalidRequest: nothing of it is wanted.
        """
        if most is None and isinstance(text, str):
            self.refuse_endless([text], limit)
        if most is not None and most < 1:
            raise InvalidRequest(f"truncate_to must be at least 1, not {most}")
        ids = self._tokenizer.encode(text) if isinstance(text, str) else [int(i) for i in text]
        if most is None or len(ids) <= most:
            return ids
        ends = ids[-1:] == [self._tokenizer.eos_id]
        return [*ids[: most - 1], ids[-1]] if ends else ids[:most]

    def refuse_endless(self, texts: Sequence[str], limit: int) -> None:
        """Before 10 MB are read: seconds of work for a prompt that cannot fit.

        Raises:
            ContextLengthExceeded: texts of these lengths have more tokens together, whatever they say.
        """
        if sum(map(len, texts)) <= limit:
            return
        n = self._tokenizer.least_tokens(texts)
        if n > limit:
            raise ContextLengthExceeded(n, limit, hint="shorten the prompt", at_least=True)

    def n_told_first(self, prompt: Prompt) -> int:
        """Tokens of a chat's system message with all that comes before it, and of the model's own first
        messages; of a text its BOS.
        """
        asked = prompt.conversation
        n = 0 if asked is None else asked.n_system
        if asked is None or not (n or self._defaults.system or self._defaults.messages):
            return int(prompt.ids[:1] == [self._tokenizer.bos_id])
        told = [*asked.messages[:n], {"role": "user", "content": ""}]
        other = self.chat(replace(asked, messages=told)).ids
        return common_prefix(np.array(prompt.ids, np.int32), np.array(other, np.int32))

    def reader(self, prompt: Prompt, stops: Sequence[str], seed: int) -> Reader:
        """For one answer; equal prompts and seeds give calls the same ids."""
        from edgeinfer.text.reading import PlainReader
        from edgeinfer.text.stream import TextStream
        from edgeinfer.text.toolcalls.reader import chat_reader

        if prompt.conversation is None:
            return PlainReader(TextStream(self._tokenizer, stops))
        salt = np.array([*prompt.ids, seed % 2**32], np.uint32).tobytes()
        thinks = prompt.thinking == "begun"
        return chat_reader(
            self._family, self._tokenizer, prompt.conversation, stops, thinks=thinks, salt=salt
        )

    def grammar(self, prompt: Prompt, content: Grammar | None) -> Grammar | None:
        """What the answer has to be, with calls that are forced.

        Args:
            content: what it has to be unless it calls tools.
        """
        asked = prompt.conversation
        if asked is None or (content is None and not asked.forces_calls):
            return content
        from edgeinfer.text.toolcalls.forcing import answer_grammar

        return answer_grammar(self._family, self._tokenizer, asked, prompt.thinking, content)
