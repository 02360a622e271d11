"""Bodies of requests, in whatever dialect.

Fields that we do not know are ignored. Fields whose meaning we do not have are refused where they ask for
something, because an answer that silently leaves them out would be a wrong one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from edgeinfer.engine.sampler import Sampling
from edgeinfer.errors import InvalidRequest
from edgeinfer.server.durations import seconds_of

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_SAMPLING = set(Sampling.names()) - {"dry_breakers"}
MOST_ANSWERS = 2048  # to one request
_NOTHING_ASKED: tuple[Any, ...] = (None, False, 0, "", [], {}, {"type": "text"}, ["text"])


class InvalidParameter(InvalidRequest):
    """A field of a body is missing or wrong.

    Attributes:
        param: which one, as in `messages[0].role`.
    """

    def __init__(self, param: str, problem: str) -> None:
        super().__init__(f"{param}: {problem}" if param else problem)
        self.param = param or None


def _refuse(value: Any) -> Any:
    if value not in _NOTHING_ASKED:
        raise ValueError("is not supported")
    return value


NotSupported = Annotated[Any, AfterValidator(_refuse)]


def _seconds(duration: object) -> float | None:
    return None if duration is None else seconds_of(duration)


# How long a model shall stay open after the request: seconds, inf: for ever, None: the client does not say.
KeepAlive = Annotated[float | None, BeforeValidator(_seconds)]


def _several(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else value
    return [text for text in texts if text != ""] if isinstance(texts, list) else texts


Stops = Annotated[list[str], BeforeValidator(_several)]  # one or several; an empty one stops nothing


class RequestBody(BaseModel):
    """A body, with types as they are; a field that is null is one that is not there."""

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Any) -> Any:
        if isinstance(body, Mapping):
            return {name: value for name, value in body.items() if value is not None}
        return body


class NamedBody(RequestBody):
    """A body that may name a model, and say how long it shall stay open; both have two names."""

    model: str | None = Field(default=None, validation_alias=AliasChoices("model", "name"))
    keep_alive: KeepAlive = Field(default=None, validation_alias=AliasChoices("keep_alive", "ttl"))


# what clients call the number of tokens that an answer has at most
MOST_TOKENS = AliasChoices(
    "max_completion_tokens", "max_tokens", "max_new_tokens", "max_output_tokens", "n_predict"
)


class TextPart(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


class CalledFunction(BaseModel):
    """A function that was called; its arguments as JSON text or as an object."""

    model_config = ConfigDict(strict=True)

    name: str
    arguments: str | dict[str, Any] | None = None


class CalledTool(BaseModel):
    """A call in a message of the assistant."""

    model_config = ConfigDict(strict=True)

    id: str | None = None
    function: CalledFunction


class ChatMessage(BaseModel):
    """One message; what else is in it goes to the template."""

    model_config = ConfigDict(strict=True, extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None
    tool_calls: list[CalledTool] | None = None
    tool_call_id: str | None = None

    def plain(self) -> dict[str, Any]:
        """As a conversation takes it."""
        return self.model_dump(exclude_none=True)


class Function(BaseModel):
    """A function that may be called."""

    model_config = ConfigDict(strict=True, extra="allow")

    name: str = Field(min_length=1)
    description: str | None = None
    parameters: dict[str, Any] | None = None  # a JSON schema


class Tool(BaseModel):
    """Something that the model may use: a function."""

    model_config = ConfigDict(strict=True)

    type: Literal["function"] = "function"
    function: Function

    def plain(self) -> dict[str, Any]:
        """As a conversation takes it."""
        return self.model_dump(exclude_none=True)


def any_seed() -> int:
    """For a request that brings none."""
    return int.from_bytes(os.urandom(8))


def check_number_of_answers(n: int) -> None:
    """Raises InvalidParameter: more than one request can sensibly ask for, as each takes some kilobytes."""
    if n > MOST_ANSWERS:
        raise InvalidParameter("prompt", f"asks for {n} answers, one request gets at most {MOST_ANSWERS}")


def sampling_fields(body: BaseModel) -> dict[str, Any]:
    """What a body gives for `Sampling`, by the names of its fields, whether its dialect has them or not."""
    return {name: value for name, value in body if name in _SAMPLING and value is not None}


AnyBody = TypeVar("AnyBody", bound=BaseModel)


def parsed(kind: type[AnyBody], body: object) -> AnyBody:
    """A decoded JSON body as its type. Raises InvalidParameter, which names the field."""
    try:
        return kind.model_validate(body)
    except ValidationError as wrong:
        errors = [(_path(e, body), e["msg"].removeprefix("Value error, ")) for e in wrong.errors()]
        first = errors[0][0]
        # several where a field may have several types
        problems = dict.fromkeys(
            problem[:1].lower() + problem[1:] for path, problem in errors if path == first
        )
        raise InvalidParameter(first, ", or ".join(problems)) from None


def _path(error: ErrorDetails, body: object) -> str:
    """Where an error is in the body: pydantic adds which of several types it tried, and that is no field."""
    path, last = "", len(error["loc"]) - 1
    for i, key in enumerate(error["loc"]):
        if isinstance(key, int) and isinstance(body, list):
            path, body = f"{path}[{key}]", body[key]
        elif isinstance(key, str) and isinstance(body, Mapping):
            if key in body or (error["type"] == "missing" and i == last):
                path, body = f"{path}.{key}", body.get(key)
        else:
            break
    return path.removeprefix(".")
