"""Where the person writes."""

from __future__ import annotations

from textual import events
from textual.binding import Binding
from textual.widgets import TextArea

from edgeinfer.tui.messages import Submitted

_MOST_LINES = 10  # the box grows up to here


class Prompt(TextArea):
    """Enter sends; Shift+Enter, Ctrl+J or a backslash before Enter begins a new line; Up and Down recall."""

    BINDINGS = [  # noqa: RUF012  # as Textual wants it
        Binding("enter", "send", "Send", show=False, priority=True),
        Binding("shift+enter,ctrl+j", "new_line", "New line", show=False, priority=True),
    ]

    def __init__(self) -> None:
        super().__init__(
            show_line_numbers=False,
            soft_wrap=True,
            tab_behavior="focus",
            highlight_cursor_line=False,
            placeholder="Ask something; F1 tells what there is to press",
        )
        self._said: list[str] = []
        self._recalled = 0  # index into `_said`; its length: what is being written
        self._draft = ""

    def remember(self, said: list[str]) -> None:
        """What Up brings back, the latest last."""
        self._said = said
        self._recalled = len(said)

    def action_send(self) -> None:
        """Hand the text over, unless there is none."""
        if self.text.endswith("\\") and self.cursor_at_end_of_text:
            self.action_delete_left()
            self.insert("\n")
            return
        text = self.text.strip()
        if text:
            self.clear()
            self._said.append(text)
            self._recalled = len(self._said)
            self.post_message(Submitted(text))

    def action_new_line(self) -> None:
        """Below."""
        self.insert("\n")

    def action_cursor_up(self, select: bool = False) -> None:
        """One line up; from the first line to what was said before."""
        if self.cursor_at_first_line and not select:
            self._recall(self._recalled - 1)
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        """One line down; from the last line to what was said after."""
        if self.cursor_at_last_line and not select:
            self._recall(self._recalled + 1)
        else:
            super().action_cursor_down(select)

    def on_text_area_changed(self) -> None:
        """Grow with the text."""
        self.styles.height = min(_MOST_LINES, max(1, self.wrapped_document.height)) + 2

    async def _on_paste(self, event: events.Paste) -> None:
        """As it is, but for line ends."""
        event.prevent_default()
        self.insert(event.text.replace("\r\n", "\n").replace("\r", "\n"))

    def _recall(self, index: int) -> None:
        if not 0 <= index <= len(self._said):
            return
        if self._recalled == len(self._said):
            self._draft = self.text
        self._recalled = index
        self.text = self._said[index] if index < len(self._said) else self._draft
        self.move_cursor(self.document.end)
