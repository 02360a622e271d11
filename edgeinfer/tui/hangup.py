"""A terminal that has gone: its window was closed, its connection broke."""

from __future__ import annotations

import select
import sys
import threading
from collections.abc import Callable


def on_hangup(leave: Callable[[], object]) -> None:
    """Call `leave`, in a thread of its own, once the terminal on standard input has gone.

    SIGHUP does not always tell of it: only the session that a terminal controls gets one, and its handler in
    an event loop never runs while that loop waits to draw on what takes nothing any more. Where poll(2) knows
    no terminals, as on macOS, SIGHUP has to do.
    """

    def wait() -> None:
        poll = select.poll()
        poll.register(sys.stdin.fileno(), 0)  # only what cannot be left out: errors and the end
        if any(event & select.POLLHUP for _, event in poll.poll()):
            leave()

    threading.Thread(target=wait, name="hangup", daemon=True).start()
