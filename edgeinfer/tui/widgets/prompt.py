"""Where the person writes, and what goes along with it."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.binding import Binding
from textual.content import Content
from textual.widgets import TextArea

from edgeinfer.sessions.store import Attachment
from edgeinfer.tui.attach import folded, label
from edgeinfer.tui.completion import Completion
from edgeinfer.tui.messages import Submitted
from edgeinfer.tui.widgets.suggestions import Suggestions

_MOST_LINES = 10  # the box grows up to here


class Prompt(TextArea):
    """Enter sends; Shift+Enter, Ctrl+J or a backslash before Enter begins a new line; Up and Down recall."""

    BINDINGS = [  # noqa: RUF012  # as Textual wants it
        Binding("pageup", "screen.scroll('page_up')", "Back", show=False),
        Binding("pagedown", "screen.scroll('page_down')", "Forth", show=False),
        Binding("ctrl+home", "screen.scroll('home')", "To the first message", show=False),
        Binding("ctrl+end", "screen.scroll('end')", "To the last message", show=False),
        Binding("ctrl+z", "app.suspend_process", "Sleep", show=False),  # as everywhere in a shell
        Binding("ctrl+underscore", "undo", "Undo", show=False),
    ]

    def __init__(self, suggestions: Suggestions) -> None:
        """`suggestions`: how what is written may go on is shown there."""
        super().__init__(
            show_line_numbers=False,
            soft_wrap=True,
            tab_behavior="focus",
            highlight_cursor_line=False,
            placeholder="Ask something; F1 tells what there is to press",
        )
        self._suggestions = suggestions
        self._attached: list[Attachment] = []
        self._said: list[str] = []
        self._recalled = 0  # index into `_said`; its length: what is being written
        self._draft = ""

    def remember(self, said: list[str]) -> None:
        """What Up brings back, the latest last."""
        self._said = said
        self._recalled = len(said)

    def write(self, text: str, attachments: Sequence[Attachment]) -> None:
        """Put something there, in place of what is there."""
        self.text = text
        self.move_cursor(self.document.end)
        self._attached = list(attachments)
        self._tell_attached()

    def attach(self, attachment: Attachment) -> None:
        """Send this along with the next message."""
        self._attached.append(attachment)
        self._tell_attached()

    async def _on_key(self, event: events.Key) -> None:
        """All keys here, in the order in which they were typed.

        Textual runs bindings when a key has risen to the app: Backspace comes behind letters that were typed
        after it, and with priority before those typed before it.
        """
        event.prevent_default()
        if await self._is_taken(event):
            pass
        elif event.key == "enter":
            self._send()
        elif event.key in ("shift+enter", "ctrl+j"):
            self.insert("\n")
        else:
            await super()._on_key(event)
            bindings = self._bindings.key_to_bindings.get(event.key)
            if bindings:
                await self.app.run_action(bindings[0].action, default_namespace=self)
            elif not event.is_printable:
                return
        event.stop()
        self._draw()

    def _draw(self) -> None:
        """At once: Textual's next frame, 16 ms later, may have all of a growing answer in it."""
        screen = self.screen
        if screen.is_current:
            screen._compositor.update_widgets({self})
            self.app._display(screen, screen._compositor.render_update())

    async def _is_taken(self, event: events.Key) -> bool:
        """Whether a key was for the suggestions, or means something because nothing is written."""
        suggestions = self._suggestions
        self._look_ahead()
        if suggestions.move(event.key):
            return True
        if suggestions.display and event.key in ("tab", "enter"):
            before, taken = self.text, self.take_suggestion()
            if event.key == "enter" and (taken is None or taken.is_whole or self.text == before):
                self._send()
            return True
        if suggestions.display and event.key == "escape":
            suggestions.close()
            return True
        if self.is_blank and event.key == "question_mark":
            await self.run_action("app.help")
            return True
        if self.is_blank and event.key == "ctrl+d":
            await self.run_action("app.quit")
            return True
        if self.selection.is_empty and event.key == "ctrl+c":  # nothing to copy here
            await self.run_action("screen.interrupt")
            return True
        return False

    def _look_ahead(self) -> None:
        self._suggestions.offer(self.text if self.cursor_at_end_of_text else "")

    def take_suggestion(self) -> Completion | None:
        """Write the highlighted one."""
        taken = self._suggestions.take()
        if taken is not None:
            self.text = taken.text
            self.move_cursor(self.document.end)
        return taken

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing to send."""
        return not self.text and not self._attached

    def put_aside(self) -> None:
        """Clear it; Up brings the text back."""
        text = self.text.strip()
        if text:
            self._said.append(text)
        self.write("", ())
        self._recalled = len(self._said)

    def _send(self) -> None:
        """Hand the text over, unless there is none."""
        if self.text.endswith("\\") and self.cursor_at_end_of_text:
            self.action_delete_left()
            self.insert("\n")
            return
        text, attachments = self.text.strip(), self._attached
        if text or attachments:
            self.write("", ())
            if text:
                self._said.append(text)
            self._recalled = len(self._said)
            self.post_message(Submitted(text, attachments))

    def action_delete_left(self) -> None:
        """A character, or before the first one an attachment."""
        if self.cursor_location == (0, 0) and self.selection.is_empty and self._attached:
            self._attached.pop()
            self._tell_attached()
        else:
            super().action_delete_left()

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
        """Grow with the text, and look how its end may go on."""
        self._look_ahead()
        self.styles.height = min(_MOST_LINES, max(1, self.wrapped_document.height)) + 2

    async def _on_paste(self, event: events.Paste) -> None:
        """As it is, but for line ends; what is large goes along instead."""
        event.prevent_default()
        event.stop()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")
        large = folded(text)
        if large is None:
            self.insert(text)
        else:
            self.attach(large)

    def _tell_attached(self) -> None:
        names = "  ".join(f"+ {label(attachment)}" for attachment in self._attached)
        self.border_title = Content(names)
        self.border_subtitle = Content("Backspace takes the last one away" if names else "")

    def _recall(self, index: int) -> None:
        if not 0 <= index <= len(self._said):
            return
        if self._recalled == len(self._said):
            self._draft = self.text
        self._recalled = index
        self._suggestions.close(self._said[index] if index < len(self._said) else self._draft)
        self.text = self._said[index] if index < len(self._said) else self._draft
        self.move_cursor(self.document.end)
