"""An answer goes to the store while it grows."""

from __future__ import annotations

import asyncio
import contextlib
import time

from edgeinfer.errors import DiskError
from edgeinfer.sessions.store import SessionStore

# A transaction for each of some hundred tokens a second takes a third of the thread that draws. What is drawn
# is stored before: drawings wait for longer than this.
_EVERY_S = 0.02


class Recorder:
    """Of one message: what comes is stored at once, or with what comes within 20 ms."""

    def __init__(self, store: SessionStore, message: int) -> None:
        self._store = store
        self._message = message
        self._content = self._reasoning = ""  # that are not stored yet
        self._stored_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, content: str, reasoning: str) -> None:
        """It has grown. Raises DiskError."""
        self._content += content
        self._reasoning += reasoning
        wait = self._stored_at + _EVERY_S - time.monotonic()
        if wait <= 0:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._flush_later)

    def flush(self) -> None:
        """Store what is not stored yet. Raises DiskError."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._content or self._reasoning:
            self._store.append(self._message, self._content, self._reasoning)
            self._content = self._reasoning = ""
            self._stored_at = time.monotonic()

    def _flush_later(self) -> None:
        with contextlib.suppress(DiskError):  # raised when more comes, or at the end
            self.flush()
