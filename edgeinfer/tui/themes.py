"""Colours beside Textual's own: one of high contrast."""

from __future__ import annotations

from textual.theme import Theme

THEMES = (
    Theme(
        name="high-contrast",
        primary="#ffffff",
        secondary="#ffff00",
        accent="#00ffff",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#000000",
        success="#00ff00",
        warning="#ffff00",
        error="#ff6060",
        dark=True,
    ),
)
