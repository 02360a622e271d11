"""One line for each request, after its end. It never tells what was said."""

from __future__ import annotations

import json
import logging
from typing import Any, Literal

from edgeinfer.server.record import Record

LogFormat = Literal["text", "json"]

_log = logging.getLogger("edgeinfer.access")


def log_request(record: Record) -> None:
    """At the end of a request."""
    if _log.isEnabledFor(logging.INFO):
        facts = _facts(record)
        _log.info(" ".join(f"{name}={value}" for name, value in facts.items()), extra={"facts": facts})


def configure(style: LogFormat, level: str) -> None:
    """Where all of the server's lines go: stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if style == "json" else logging.Formatter("%(asctime)s %(message)s"))
    for name in ("edgeinfer", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger("edgeinfer").level))


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
