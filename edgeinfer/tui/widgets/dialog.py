"""The frame of what opens over the chat."""

from __future__ import annotations

from textual.containers import Vertical


class Dialog(Vertical):
    """As large as the terminal where that is small; `classes`: "low" is as high as what is in it."""

    def __init__(self, title: str, classes: str = "") -> None:
        super().__init__(classes=classes)
        self.border_title = title
