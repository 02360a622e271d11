"""What is typed and pasted, as bytes of the terminal."""

from __future__ import annotations

import codecs
from functools import partial

from textual.drivers import linux_driver


def take_any_bytes() -> None:
    """Before the app runs: what is no UTF-8, as in a paste of a binary file, is U+FFFD.

    Textual (8.2) decodes strictly: one such byte ends the app with a traceback over the screen.
    """
    decoder = partial(codecs.getincrementaldecoder("utf-8"), errors="replace")
    vars(linux_driver)["getincrementaldecoder"] = lambda encoding: decoder
