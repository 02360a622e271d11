"""Messages of a conversation: what the person said, and answers as they grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Collapsible, Static

from edgeinfer.sessions.store import Message
from edgeinfer.text.safe import safe_text
from edgeinfer.tui.attach import label
from edgeinfer.tui.messages import Asked

if TYPE_CHECKING:
    from edgeinfer.tui.widgets.markdown import GrowingMarkdown


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
        """Plain text, as it was written; of attachments their names."""
        for attachment in self.message.attachments:
            yield Static(Content(f"+ {label(attachment)}"), classes="attached")
        if self.message.content:
            yield Static(Content(safe_text(self.message.content)), classes="text")
        if self.versions:
            yield Static(Content(self.versions), classes="footer")


class AnswerView(MessageView):
    """What the model said, as Markdown, its reasoning folded."""

    BINDINGS = [  # noqa: RUF012
        Binding("k", "ask('copy code')", "Copy code"),
        Binding("r", "ask('regenerate')", "Another answer"),
        Binding("t", "reasoning", "Reasoning"),
    ]

    def compose(self) -> ComposeResult:
        """The parts of an answer; those that are empty are hidden."""
        from edgeinfer.tui.widgets.markdown import GrowingMarkdown  # 60 ms before the first prompt

        reasoning = GrowingMarkdown(safe_text(self.message.reasoning))
        yield Collapsible(reasoning, collapsed=True)
        yield GrowingMarkdown(safe_text(self.message.content))
        yield Static(classes="problem")
        yield Static(classes="footer")

    def on_mount(self) -> None:
        """Where writing goes from here on."""
        self._content, self._reasoning = self._parts()
        self._n_thoughts = 0  # tokens
        self._tell_end()

    def _parts(self) -> tuple[GrowingMarkdown, GrowingMarkdown]:
        folded = self.query_one(Collapsible)
        content, reasoning = (
            self.query_children("GrowingMarkdown").first(),
            folded.query_one("GrowingMarkdown"),
        )
        return cast("GrowingMarkdown", content), cast("GrowingMarkdown", reasoning)

    def grow(self, content: str, reasoning: str) -> None:
        """More of the answer."""
        if reasoning:
            self._n_thoughts += 1
            self._reasoning.grow(safe_text(reasoning))
        if content:
            self._content.grow(safe_text(content))

    def on_drawn(self) -> None:
        """With what is drawn, not with each token: all is laid out anew for it."""
        if self._n_thoughts and self.message.finish is None:
            folded = self.query_one(Collapsible)
            folded.display = True
            folded.title = f"Thinking, {self._n_thoughts} tokens"

    async def end(self, message: Message, place: tuple[int, int]) -> None:
        """The answer is whole."""
        self.message, self._place = message, place
        await self._content.end()
        await self._reasoning.end()
        self._tell_end()

    def action_reasoning(self) -> None:
        """Fold or unfold it."""
        folded = self.query_one(Collapsible)
        folded.collapsed = not folded.collapsed

    def _tell_end(self) -> None:
        n_thoughts = self.message.cost.get("reasoning_tokens")  # not told of one that was cut off
        title = "Reasoning" if n_thoughts is None else f"Reasoning, {n_thoughts:,} tokens"
        folded = self.query_one(Collapsible)
        folded.title, folded.display = title, bool(self.message.reasoning)
        _show(self.query_one(".problem", Static), _problem(self.message))
        told = "  ".join(filter(None, [_cost(self.message), self.versions]))
        _show(self.query_one(".footer", Static), told)


def _show(line: Static, text: str) -> None:
    line.update(Content(text))
    line.display = bool(text)


def _problem(message: Message) -> str:
    if message.finish != "error":
        return ""
    told = [message.cost.get("error") or "it failed", message.cost.get("hint") or ""]
    return safe_text("\n".join(filter(None, told)))


def _cost(message: Message) -> str:
    cost, ending = message.cost, _ending(message)
    if "completion_tokens" not in cost:
        return ending
    told = []
    if cost["completion_tokens"]:
        told += [
            f"{cost['completion_tokens']:,} tokens",
            f"{cost['tokens_per_s']:.0f}/s",
            f"first after {_time(cost['first_token_s'])}",
        ]
    cached = f" ({cost['cached_tokens']:,} cached)" if cost["cached_tokens"] else ""
    told.append(f"prompt {cost['prompt_tokens']:,}{cached}")
    if cost.get("dropped_tokens"):
        told.append(f"{cost['dropped_tokens']:,} forgotten")
    return " \u00b7 ".join([*told, ending] if ending else told)


def _ending(message: Message) -> str:
    if message.finish is None:
        return "cut off" if message.content or message.reasoning else ""
    if message.finish == "length":
        full = message.cost.get("context_full")
        return "the context is full: Ctrl+N begins anew" if full else "cut at max_tokens"
    endings = {"cancelled": "stopped", "error": "failed", "deadline": "the time was over"}
    return endings.get(message.finish, "")


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
