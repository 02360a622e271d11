"""One line for each request, after its end. It never tells what was said."""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from edgeinfer.server.record import Record

LogFormat = Literal["text", "json"]

_MOST_LINES = 10_000  # that wait to be written
_LAST_S = 1.0  # for them at the end
_MANY = {"/stats"}  # asked twice a second by each panel of a chat

_log = logging.getLogger("edgeinfer.access")


def log_request(record: Record) -> None:
    """At the end of a request."""
    level = logging.DEBUG if record.route in _MANY else logging.INFO
    if _log.isEnabledFor(level):
        facts = _facts(record)
        _log.log(level, " ".join(f"{name}={value}" for name, value in facts.items()), extra={"facts": facts})


@contextmanager
def written(style: LogFormat, level: str) -> Iterator[None]:
    """All lines of the server go to stderr, by a thread of their own: who does not read holds up nobody.

    Then lines are lost, and no answers.
    """
    lines: queue.Queue[str | None] = queue.Queue(_MOST_LINES)
    handler = _Lines(lines)
    handler.setFormatter(_JsonLines() if style == "json" else logging.Formatter("%(asctime)s %(message)s"))
    for name in ("edgeinfer", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger("edgeinfer").level))
    writer = threading.Thread(target=_write, args=(lines,), name="edgeinfer-log", daemon=True)
    writer.start()
    try:
        yield
    finally:
        with suppress(queue.Full):
            lines.put_nowait(None)
        writer.join(_LAST_S)


def _write(lines: queue.Queue[str | None]) -> None:
    """Without locks of logging or sys.stderr, which the end of the process would wait for."""
    with suppress(OSError):
        while (line := lines.get()) is not None:
            os.write(sys.stderr.fileno(), f"{line}\n".encode("utf-8", "replace"))


class _Lines(logging.Handler):
    def __init__(self, lines: queue.Queue[str | None]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            self._lines.put_nowait(self.format(record))


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.formatTime(record), "level": record.levelname.lower()}
        line |= getattr(record, "facts", None) or {"message": record.getMessage()}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _facts(record: Record) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "method": record.method,
        "path": ascii(record.path)[1:-1],  # a stranger's text
        "status": record.status,
        "outcome": record.outcome,
        "seconds": round(record.total_s, 3),
        "request_id": record.id,
    }
    if record.key:
        facts["key"] = record.key
    if record.model is not None:
        facts["model"] = record.model
    if record.streams:
        usages = [stream.usage for stream in record.streams]
        facts |= {
            "prompt_tokens": sum(usage.n_prompt for usage in usages),
            "cached_tokens": sum(usage.n_cached for usage in usages),
            "generated_tokens": sum(usage.n_generated for usage in usages),
            "finish": ",".join(str(stream.finish_reason) for stream in record.streams),
        }
    if record.error is not None:
        facts["error"] = record.error.code
    return facts
