"""One conversation as the screen drives it: what is said is stored as it is said, and answered by a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from edgeinfer.errors import EdgeInferError
from edgeinfer.sessions.store import Message, Session, SessionStore
from edgeinfer.streaming import Progress, Stream, Token
from edgeinfer.text.conversation import Conversation, thinking

if TYPE_CHECKING:
    from edgeinfer.client import Model

_TITLE_CHARACTERS = 48


class Talk:
    """A session that a model answers in.

    Attributes:
        session: as it is stored.
        messages: those of the branch that is shown, in order.
        model: who answers.
    """

    def __init__(
        self,
        store: SessionStore,
        session: Session,
        model: Model,
        generation: dict[str, Any],
        *,
        think: bool | None = None,
    ) -> None:
        """`generation` are keyword arguments of `Model.chat`; parameters of the session come before them."""
        self._variables = {} if think is None else thinking(think)
        self._store = store
        self._generation = generation
        self.session = session
        self.model = model
        self.messages = store.branch(session.id)
        self._stream: Stream | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """What the next answer is sampled with, as far as it is not by default."""
        return {**self._generation, **self.session.parameters}

    def say(self, text: str, parent: int | None = None) -> Message:
        """A message of the person, after `parent` or at the end.

        Raises:
            DiskError: it could not be stored.
        """
        if parent is None and self.messages:
            parent = self.messages[-1].id
        said = self._store.add(self.session.id, parent, "user", text)
        if not self.session.title:
            title = " ".join(text.split())[:_TITLE_CHARACTERS]
            self.session = self._store.update(self.session.id, title=title)
        self._reload()
        return said

    def rewrite(self, message: Message, text: str) -> Message:
        """Say something else in the place of a message of the person; the old one stays beside it."""
        self.messages = self.messages[: self._index(message)]
        if not self.messages:
            said = self._store.add(self.session.id, None, "user", text)
            self._reload()
            return said
        return self.say(text, message.parent)

    def forget_answer(self, answer: Message) -> None:
        """Before another answer in its place; the old one stays beside it."""
        assert answer.parent is not None, "an answer has a question"
        self.messages = self.messages[: self._index(answer)]

    def other(self, message: Message, step: int) -> bool:
        """Show the next (or former) of what was said in this place. False: there is none."""
        siblings = self._store.siblings(self.session.id, message)
        index = siblings.index(message.id) + step
        if not 0 <= index < len(siblings):
            return False
        self._store.show(self.session.id, siblings[index])
        self._reload()
        return True

    def place(self, message: Message) -> tuple[int, int]:
        """Which one it is, from 1, of how many in its place."""
        siblings = self._store.siblings(self.session.id, message)
        return siblings.index(message.id) + 1, len(siblings)

    def update(self, **changes: Any) -> None:
        """Change the session's title, model, system message or parameters."""
        self.session = self._store.update(self.session.id, **changes)

    def begin_answer(self) -> Message:
        """An empty answer to the last message, for `write`. Raises DiskError."""
        message = self._store.add(self.session.id, self.messages[-1].id, "assistant", "")
        self._reload()
        return message

    async def write(self, message: Message) -> AsyncIterator[Token | Progress]:
        """An answer as it comes; `messages` has all of it once this has ended.

        Raises:
            EdgeInferError: what was written until then is kept.
        """
        reason, cost = "cancelled", {}
        try:
            self._stream = await asyncio.to_thread(self._start)
            async for event in self._stream.events():
                if isinstance(event, Token):
                    self._keep(message, event)
                yield event
            reason = self._stream.finish_reason or reason
        except EdgeInferError:
            reason = "error"
            raise
        finally:
            if self._stream is not None:
                self._stream.cancel()
                cost = _cost(self._stream)
            self._stream = None
            self._store.finish(message.id, reason, cost)
            self._reload()

    def stop(self) -> None:
        """End the answer that is being written; what is there stays."""
        if self._stream is not None:
            self._stream.cancel()

    def _start(self) -> Stream:
        system = self.session.system
        said: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        said += [{"role": m.role, "content": m.content} for m in self.messages[:-1]]
        return self.model.chat(Conversation(said, variables=self._variables), **self.parameters)

    def _keep(self, message: Message, token: Token) -> None:
        if token.text or token.reasoning:
            self._store.append(message.id, token.text, token.reasoning)

    def _index(self, message: Message) -> int:
        return next(i for i, m in enumerate(self.messages) if m.id == message.id)

    def _reload(self) -> None:
        self.messages = self._store.branch(self.session.id)


def _cost(stream: Stream) -> dict[str, Any]:
    usage = stream.usage
    return {
        "prompt_tokens": usage.n_prompt,
        "cached_tokens": usage.n_cached,
        "completion_tokens": usage.n_generated,
        "first_token_s": round(usage.first_token_s, 4),
        "prompt_tokens_per_s": round(usage.prompt_per_s, 1),
        "tokens_per_s": round(usage.generated_per_s, 1),
    }
