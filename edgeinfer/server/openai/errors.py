"""Errors as OpenAI's clients read them."""

from __future__ import annotations

from typing import Any

from edgeinfer.errors import EdgeInferError, InvalidRequest


class InvalidParameter(InvalidRequest):
    """A field of a body is missing or wrong.

    Attributes:
        param: which one, as in `messages[0].role`.
    """

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"{param}: {problem}" if param else problem)
        self.param = param or None


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
