"""How what is being written may go on, above where it is written."""

from __future__ import annotations

import asyncio

from textual import on, work
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from edgeinfer.text.safe import safe_text
from edgeinfer.tui.completion import Completion, completions, may_be_completed, needs_reading

_KEYS = {"up": "cursor_up", "down": "cursor_down", "pageup": "page_up", "pagedown": "page_down"}


class Suggestions(OptionList, can_focus=False):
    """Hidden while there is nothing to suggest."""

    class Clicked(Message):
        """With the mouse."""

    def __init__(self) -> None:
        super().__init__()
        self.display = False
        self._found: list[Completion] = []
        self._text = ""  # what they are for

    def offer(self, text: str) -> None:
        """What may come behind this text, soon; nothing for a text that was taken from here."""
        if self._text == text:
            return
        self._text = text
        if not may_be_completed(text):
            self.close()
        elif needs_reading(text):
            self._found = []  # what is shown is of another text
            self._look(text)
        else:
            self._show(completions(text))

    def close(self, text: str | None = None) -> None:
        """Until something else is written than what is there now, or than this text."""
        self._text = self._text if text is None else text
        self.workers.cancel_node(self)
        self._found = []
        self.display = False

    def take(self) -> Completion | None:
        """The highlighted one; nothing more is suggested for it, unless it is the beginning of a path."""
        if not self.display or self.highlighted is None or not self._found:
            return None
        taken = self._found[self.highlighted]
        self.close(None if taken.text.endswith(("/", " ")) else taken.text)
        return taken

    def move(self, key: str) -> bool:
        """Obey a key, if there is something to move in and the key does so."""
        if not self.display or key not in _KEYS:
            return False
        getattr(self, f"action_{_KEYS[key]}")()
        return True

    @work(exclusive=True)
    async def _look(self, text: str) -> None:
        self._show(await asyncio.to_thread(completions, text))

    def _show(self, found: list[Completion]) -> None:
        self._found = found
        self.clear_options()
        width = max((len(c.shown) for c in self._found if c.told), default=0)
        self.add_options([Option(_line(completion, width)) for completion in self._found])
        self.highlighted = 0 if self._found else None
        self.display = bool(self._found)

    @on(OptionList.OptionSelected)
    def _click(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Clicked())


def _line(completion: Completion, width: int) -> Content:
    told = (f"  {completion.told}", "dim") if completion.told else ""
    return Content.assemble(safe_text(completion.shown).ljust(width), told)
