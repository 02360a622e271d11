"""Typed errors: each has a stable code, one line that says what happened and a hint that says what to do.

One table maps a code to the exit code of the CLI and the HTTP status of the server, so that no door
can disagree with another about what an error means.
"""

from __future__ import annotations

from typing import ClassVar


class EdgeInferError(Exception):
    """Base of every error a user may see.

    Args:
        message: what is wrong and where, in one line without a full stop.
        hint: what to do next, if anything can be done.
    """

    code: ClassVar[str] = "failed"
    retry_after_s: ClassVar[int | None] = None  # when the same may succeed, if it may at all

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def exit_code(self) -> int:
        """The process exit code of this error, see `EXIT_AND_STATUS`."""
        return EXIT_AND_STATUS[self.code][0]

    @property
    def http_status(self) -> int:
        """The HTTP status of this error, see `EXIT_AND_STATUS`."""
        return EXIT_AND_STATUS[self.code][1]


class InvalidRequest(EdgeInferError):
    """An argument, parameter or message that makes no sense.

    Args:
        message, hint: see `EdgeInferError`.
        param: the argument or field that is wrong, if it is one, as `temperature`.
    """

    code = "invalid_request"

    def __init__(self, message: str, *, hint: str | None = None, param: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.param = param


class ContextLengthExceeded(InvalidRequest):
    """The prompt is longer than the context.

    Args:
        n_prompt: its tokens.
        n_context: tokens that prompt and answer may have together.
        hint: how to make it fit.
        at_least: the tokens were not counted: there are so many or more.
    """

    code = "context_length_exceeded"

    def __init__(self, n_prompt: int, n_context: int, *, hint: str, at_least: bool = False) -> None:
        about = f"{'at least ' if at_least else ''}{n_prompt}"
        # litellm and others know this error by the words "this model's maximum context length is".
        problem = f"the prompt has {about} tokens, this model's maximum context length is {n_context}"
        super().__init__(problem, hint=hint)
        self.n_prompt, self.n_context = n_prompt, n_context


class WrongModelKind(InvalidRequest):
    """Text is asked of an embedding model, or vectors of one that answers."""

    code = "wrong_model_kind"


class TemplateError(InvalidRequest):
    """A chat template is missing, broken, endless or too large."""

    code = "template_error"


class BadModelFile(EdgeInferError):
    """The model file is damaged, incomplete or inconsistent."""

    code = "bad_model_file"


class UnsupportedModel(BadModelFile):
    """The model file is sound but uses something this engine does not have."""

    code = "unsupported_model"


class ModelFileChanged(BadModelFile):
    """The file shrank or vanished while it was mapped."""

    code = "model_file_changed"


class NonFiniteLogits(BadModelFile):
    """The model computed NaN or infinity: damaged weights or an unsupported model."""

    code = "non_finite_logits"


class NotEnoughMemory(EdgeInferError):
    """The machine has not enough free memory for what was asked."""

    code = "not_enough_memory"


class NoRoom(EdgeInferError):
    """The KV pool is full. Handled by the scheduler; a user sees it only when nothing can be evicted."""

    code = "no_room"


class DiskError(EdgeInferError):
    """A file cannot be read or written."""

    code = "disk_error"


class NotFound(EdgeInferError):
    """No model or file of that name."""

    code = "not_found"


class AmbiguousName(InvalidRequest):
    """A name that several models answer to."""

    code = "ambiguous_name"


class NetworkError(EdgeInferError):
    """Another machine cannot be reached, or does not give what was asked for."""

    code = "network_error"


class Offline(NetworkError):
    """The network would be needed, and is switched off."""

    code = "offline"


class AccessDenied(NetworkError):
    """A model that one has to log in or to ask for."""

    code = "access_denied"


class IntegrityError(EdgeInferError):
    """What arrived is not what was promised."""

    code = "integrity_error"


class PortTaken(EdgeInferError):
    """The port cannot be listened on."""

    code = "port_taken"


class Cancelled(EdgeInferError):
    """The work was stopped by the user."""

    code = "cancelled"


class TimedOut(EdgeInferError):
    """The time that was given is over."""

    code = "timed_out"


# code -> (exit code, HTTP status)
EXIT_AND_STATUS: dict[str, tuple[int, int]] = {
    "failed": (1, 500),
    "no_room": (1, 503),
    "timed_out": (1, 504),
    "queue_full": (1, 503),
    "invalid_request": (2, 400),
    "context_length_exceeded": (2, 400),
    "wrong_model_kind": (2, 400),
    "template_error": (2, 400),
    "ambiguous_name": (2, 400),
    "bad_model_file": (3, 500),
    "unsupported_model": (3, 501),
    "model_file_changed": (3, 503),
    "non_finite_logits": (3, 500),
    "not_enough_memory": (4, 507),
    "request_timeout": (1, 504),
    "shutting_down": (1, 503),
    "network_error": (5, 502),
    "offline": (5, 503),
    "access_denied": (5, 403),
    "disk_error": (6, 500),
    "port_taken": (7, 500),
    "integrity_error": (8, 500),
    "body_too_large": (2, 413),
    "body_too_slow": (2, 408),
    "model_not_found": (9, 404),
    "not_found": (9, 404),
    "cancelled": (130, 499),
}
