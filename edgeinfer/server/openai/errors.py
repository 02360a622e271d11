"""Errors as OpenAI's clients read them."""

from __future__ import annotations

from typing import Any

from edgeinfer.errors import EdgeInferError
from edgeinfer.server.bodies import InvalidParameter


def error_body(error: EdgeInferError) -> dict[str, Any]:
    """The body that goes with `error.http_status`."""
    return {
        "error": {
            "message": f"{error.message}; {error.hint}" if error.hint else error.message,
            "type": "invalid_request_error" if error.http_status < 500 else "server_error",
            "param": error.param if isinstance(error, InvalidParameter) else None,
            "code": error.code,
        }
    }
