"""Text of strangers (models, files, names), made safe to show."""

from __future__ import annotations

# Invisible characters that change what a person sees: bidirectional overrides and isolates, marks.
_HIDDEN = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0xFEFF}


def safe_text(text: str) -> str:
    """Text of a model or a file, with what a terminal would obey made visible.

    Line feeds and tabs stay, carriage returns go, every other control character (ESC, the C1 range, DEL),
    bidirectional override and lone surrogate is written as an escape like \\x1b.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(c) for c in text)


def _visible(c: str) -> str:
    code = ord(c)
    if c in "\n\t":
        return c
    if c == "\r":
        return ""
    if code < 0x20 or 0x7F <= code < 0xA0:
        return f"\\x{code:02x}"
    if code in _HIDDEN or 0xD800 <= code < 0xE000:
        return f"\\u{code:04x}"
    return c
