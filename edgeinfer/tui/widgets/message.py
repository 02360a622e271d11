"""Messages of a conversation: what the person said, and answers as they grow."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Collapsible, Markdown, Static

from edgeinfer.sessions.store import Message
from edgeinfer.text.safe import safe_text
from edgeinfer.tui.messages import Asked


class MessageView(Vertical, can_focus=True):
    """What both sides have in common: keys that work on the message in focus."""

    BINDINGS = [  # noqa: RUF012
        Binding("c", "ask('copy')", "Copy"),
        Binding("left", "ask('former')", "Former version", show=False),
        Binding("right", "ask('next')", "Next version", show=False),
    ]

    def __init__(self, message: Message, place: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.message = message
        self._place = place

    def action_ask(self, what: Any) -> None:
        """Hand it to the screen."""
        self.post_message(Asked(what, self.message))

    @property
    def versions(self) -> str:
        """Which of several versions this is; nothing if it is the only one."""
        number, of = self._place
        return f"\u2039{number}/{of}\u203a" if of > 1 else ""


class QuestionView(MessageView):
    """What the person said."""

    BINDINGS = [Binding("e", "ask('edit')", "Edit and send again")]  # noqa: RUF012

    def compose(self) -> ComposeResult:
        """Plain text: it is shown as it was written."""
        yield Static(safe_text(self.message.content), markup=False, classes="text")
        if self.versions:
            yield Static(self.versions, classes="footer")


class AnswerView(MessageView):
    """What the model said, as Markdown; reasoning is folded once the answer begins."""

    BINDINGS = [  # noqa: RUF012
        Binding("r", "ask('regenerate')", "Another answer"),
        Binding("k", "ask('copy code')", "Copy code"),
    ]

    def compose(self) -> ComposeResult:
        """The parts of an answer; those that are empty are hidden."""
        reasoning = Static(safe_text(self.message.reasoning), markup=False)
        folded = Collapsible(reasoning, title="Reasoning", collapsed=True)
        folded.display = bool(self.message.reasoning)
        yield folded
        yield Markdown(safe_text(self.message.content), open_links=False)
        yield Static(classes="footer")

    def on_mount(self) -> None:
        """Where writing goes from here on."""
        self._reasoning = self.message.reasoning
        self._stream = Markdown.get_stream(self.query_one(Markdown))
        self._tell_cost()

    async def grow(self, content: str, reasoning: str) -> None:
        """More of the answer."""
        if reasoning:
            self._reasoning += reasoning
            folded = self.query_one(Collapsible)
            folded.display, folded.collapsed = True, False
            folded.query_one(Static).update(safe_text(self._reasoning))
        if content:
            if self._reasoning:
                self.query_one(Collapsible).collapsed = True
            await self._stream.write(safe_text(content))

    def tell(self, text: str) -> None:
        """In the line below: what is going on."""
        self.query_one(".footer", Static).update(text)

    async def end(self, message: Message, place: tuple[int, int]) -> None:
        """The answer is whole."""
        await self._stream.stop()
        self.message, self._place = message, place
        self._tell_cost()

    def _tell_cost(self) -> None:
        self.tell("  ".join(filter(None, [_cost(self.message), self.versions])))


def _cost(message: Message) -> str:
    cost = message.cost
    if not cost:
        return "" if message.finish else "not finished"
    cached = f", {cost['cached_tokens']} cached" if cost["cached_tokens"] else ""
    told = (
        f"{cost['completion_tokens']} tokens, {cost['tokens_per_s']:.0f}/s \u00b7 "
        f"read {cost['prompt_tokens']}{cached} \u00b7 first after {cost['first_token_s'] * 1000:.0f} ms"
    )
    endings = {
        "length": "the context is full or the limit reached",
        "cancelled": "stopped",
        "error": "failed",
    }
    ending = endings.get(message.finish or "")
    return f"{told} \u00b7 {ending}" if ending else told
