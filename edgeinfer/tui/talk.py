"""One conversation as the screen drives it: what is said is stored as it is said, and answered by a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from edgeinfer.errors import EdgeInferError
from edgeinfer.sessions.store import Attachment, Message, Session, SessionStore
from edgeinfer.streaming import Progress, Token
from edgeinfer.text.conversation import Conversation, thinking
from edgeinfer.tui.recorder import Recorder

if TYPE_CHECKING:
    from edgeinfer.chat_model import ChatModel, ChatStream

_TITLE_CHARACTERS = 48
_MOST_SAID = 200  # messages that Up brings back


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
        model: ChatModel,
        generation: dict[str, Any],
        *,
        think: bool | None = None,
    ) -> None:
        """`generation` are keyword arguments of `Model.chat`; parameters of the session come before them."""
        self._variables = thinking(think)
        self._store = store
        self._generation = generation
        self.session = session
        self.model = model
        self.messages = store.branch(session.id)
        self._stream: ChatStream | None = None
        self._stopped = False  # perhaps before there was a stream

    @property
    def parameters(self) -> dict[str, Any]:
        """What the next answer is sampled with, as far as it is not by default."""
        return {**self._generation, **self.session.parameters}

    def said_before(self) -> list[str]:
        """What the person said last, in any session."""
        return self._store.said(_MOST_SAID)

    def say(
        self, text: str, attachments: Sequence[Attachment] = (), instead: Message | None = None
    ) -> Message:
        """A message of the person, at the end or in the place of another one, which stays beside it.

        Raises:
            DiskError, NotFound: it could not be stored.
        """
        parent = instead.parent if instead is not None else self._leaf()
        said = self._store.add(self.session.id, parent, "user", text, attachments)
        if not self.session.title:
            title = " ".join(text.split()) or attachments[0].name
            self.session = self._store.update(self.session.id, title=title[:_TITLE_CHARACTERS])
        self._go_to(said.id)
        return said

    def forget_answer(self, answer: Message) -> None:
        """Before another answer in its place; the old one stays beside it."""
        assert answer.parent is not None, "an answer has a question"
        self._go_to(answer.parent)

    def other(self, message: Message, step: int) -> bool:
        """Show the next (or former) of what was said in this place. False: there is none."""
        siblings = self._store.siblings(self.session.id, message)
        index = siblings.index(message.id) + step
        if not 0 <= index < len(siblings):
            return False
        self._store.show(self.session.id, siblings[index])
        self.messages = self._store.branch(self.session.id)
        return True

    def place(self, message: Message) -> tuple[int, int]:
        """Which one it is, from 1, of how many in its place."""
        siblings = self._store.siblings(self.session.id, message)
        return siblings.index(message.id) + 1, len(siblings)

    def update(self, **changes: Any) -> None:
        """Change the session's title, model, system message or parameters."""
        self.session = self._store.update(self.session.id, **changes)

    def begin_answer(self) -> Message:
        """An empty answer to the last message, for `write`. Raises DiskError, NotFound."""
        message = self._store.add(self.session.id, self._leaf(), "assistant", "")
        self._go_to(message.id)
        self._stopped = False
        return message

    async def write(self, message: Message) -> AsyncIterator[Token | Progress]:
        """An answer as it comes; `messages` has all of it once this has ended.

        What went wrong ends it too: it is told in the cost of the message, and what was written is kept.
        """
        reason: str = "cancelled"
        cost: dict[str, Any] = {}
        n_thoughts = 0
        recorder = Recorder(self._store, message.id)
        try:
            stream = self._stream = await asyncio.to_thread(self._start)
            if not self._stopped:
                async for event in stream.events():
                    if isinstance(event, Token):
                        n_thoughts += bool(event.reasoning)
                        recorder.add(event.text, event.reasoning)
                    yield event
                reason = stream.finish_reason or reason
        except EdgeInferError as error:
            reason = "error"
            cost = {"error": error.message, "hint": error.hint}
        finally:
            if self._stream is not None:
                self._stream.cancel()
                cost = {**_cost(self._stream, self.model.context_length), **cost}
                cost["reasoning_tokens"] = n_thoughts
            self._stream = None
            recorder.flush()
            self._store.finish(message.id, reason, cost)
            self._go_to(message.id)

    def stop(self) -> None:
        """End the answer that is being written; what is there stays."""
        self._stopped = True
        if self._stream is not None:
            self._stream.cancel()

    def _start(self) -> ChatStream:
        system = self.session.system
        said: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
        said += [{"role": m.role, "content": m.told} for m in self.messages[:-1]]
        return self.model.chat(Conversation(said, variables=self._variables), **self.parameters)

    def _leaf(self) -> int | None:
        return self.messages[-1].id if self.messages else None

    def _go_to(self, message: int) -> None:
        """Not to what the store says is shown: another program may go on with the same session elsewhere."""
        self.messages = self._store.line_to(message)


def _cost(stream: ChatStream, context_length: int) -> dict[str, Any]:
    usage = stream.usage
    return {
        "context_full": usage.n_prompt + usage.n_generated >= context_length,
        "dropped_tokens": usage.n_dropped,
        "prompt_tokens": usage.n_prompt,
        "cached_tokens": usage.n_cached,
        "completion_tokens": usage.n_generated,
        "first_token_s": round(usage.first_token_s, 4),
        "prompt_tokens_per_s": round(usage.prompt_per_s, 1),
        "tokens_per_s": round(usage.generated_per_s, 1),
    }
