"""`edgeinfer bench chat`: how soon a key that is pressed in the chat is drawn, and how soon the chat starts.

The chat runs as a process of its own in a terminal of 120 x 40, which is this one: no model of a terminal and
nobody's network is in between.
"""

from __future__ import annotations

import fcntl
import os
import pty
import random
import re
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from types import TracebackType
from typing import Any, Self

from edgeinfer.bench.machine import Disturbance, Watch
from edgeinfer.errors import TimedOut

_LETTERS = [chr(code) for code in range(0x561, 0x587)]  # Armenian: no model says them here
_PLACEHOLDER = "sk something"  # of the prompt; its first letter is under the cursor
_ANSWERING = "Answering"
_ASKED = "Tell me everything about the history of the world, and then much more"
_PATIENCE_S = 120.0  # large models take long to open
_BETWEEN_S = (0.03, 0.1)  # keys; at random, as drawing is regular
_COMMAND = [sys.executable, "-P", "-m", "edgeinfer", "chat"]


@dataclass(frozen=True)
class ChatReport:
    """All that a run found; seconds."""

    model: str
    starts: list[float]  # of the process, until a key is drawn
    idle: list[float]  # from a key to its letter, while nothing else happens
    answering: list[float]  # while an answer comes as fast as it can
    tokens_per_s: float  # of that answer
    disturbance: Disturbance

    def as_json(self) -> dict[str, Any]:
        """One document."""
        return {
            "model": self.model,
            "starts_s": self.starts,
            "idle_s": self.idle,
            "answering_s": self.answering,
            "tokens_per_s": self.tokens_per_s,
            "start_median_s": statistics.median(self.starts),
            "idle_p99_ms": 1e3 * percentile(self.idle, 99),
            "answering_p99_ms": 1e3 * percentile(self.answering, 99),
            "disturbance": self.disturbance.as_json(),
        }


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many of a hundred do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def measure_chat(
    model: str, options: Sequence[str], *, n_starts: int, n_keys: int, advance: Callable[[], None]
) -> ChatReport:
    """Start the chat some times, then press keys before and during an answer; `options` make it endless."""
    watch = Watch()
    starts = []
    for _ in range(n_starts):
        with _chat([model, *options]) as terminal:
            terminal.press()
            starts.append(terminal.age_s)
        advance()
    with _chat([model, *options]) as terminal:
        terminal.press()
        terminal.type("\x7f")
        idle = _pressed(terminal, n_keys, advance)
        terminal.type(_ASKED)
        terminal.pause(0.5)
        terminal.type("\r")
        terminal.wait_for(_ANSWERING)
        answering = _pressed(terminal, n_keys, advance)
        terminal.type("\x1b")
        told = re.search(r"tokens \u00b7 (\d+)/s", terminal.wait_for("/s \u00b7"))
    assert told is not None, "an answer tells its speed when it was stopped"
    return ChatReport(model, starts, idle, answering, float(told[1]), watch.stop())


def _pressed(terminal: _Terminal, n_keys: int, advance: Callable[[], None]) -> list[float]:
    times = []
    for _ in range(n_keys):
        terminal.pause(random.uniform(*_BETWEEN_S))
        times.append(terminal.press())
        terminal.type("\x7f")
        advance()
    return times


@contextmanager
def _chat(arguments: Sequence[str]) -> Iterator[_Terminal]:
    """With its prompt in view; without sessions of before, and leaving none."""
    with tempfile.TemporaryDirectory() as folder:
        own = dict.fromkeys(("XDG_DATA_HOME", "XDG_STATE_HOME"), folder)
        environment = {**os.environ, **own, "TERM": "xterm-256color", "EDGEINFER_KV_DISK_BYTES": "0"}
        with _Terminal([*_COMMAND, *arguments], environment) as terminal:
            terminal.wait_for(_PLACEHOLDER)
            yield terminal


class _Terminal:
    """A process in a terminal."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._started_at = time.perf_counter()
        self._letters = cycle(_LETTERS)
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    @property
    def age_s(self) -> float:
        """Since the process was started."""
        return time.perf_counter() - self._started_at

    def type(self, text: str) -> None:
        """On its keyboard."""
        os.write(self._ours, text.encode())

    def press(self) -> float:
        """A letter that nobody else draws; seconds until it is drawn."""
        letter = next(self._letters)
        self.pause(0)
        start = time.perf_counter()
        self.type(letter)
        self.wait_for(letter)
        return time.perf_counter() - start

    def pause(self, seconds: float) -> None:
        """Let it draw."""
        end = time.perf_counter() + seconds
        while self._read(end - time.perf_counter()) or time.perf_counter() < end:
            pass

    def wait_for(self, text: str) -> str:
        """Until it is drawn; with what was drawn before. Raises TimedOut."""
        drawn, end = b"", time.perf_counter() + _PATIENCE_S
        while text.encode() not in drawn:
            if time.perf_counter() > end or self._process.poll() is not None:
                raise TimedOut(f"the chat did not draw {text!r}", hint="see what `edgeinfer chat` says")
            drawn += self._read(0.1)
        return drawn.decode(errors="replace")

    def _read(self, timeout_s: float) -> bytes:
        if not select.select([self._ours], [], [], max(0.0, timeout_s))[0]:
            return b""
        try:
            return os.read(self._ours, 1 << 16)
        except OSError:  # the process has ended
            return b""
