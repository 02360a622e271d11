"""Bodies of requests, in whatever dialect.

Fields that we do not know are ignored. Fields whose meaning we do not have are refused where they ask for
something, because an answer that silently leaves them out would be a wrong one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from edgeinfer.durations import seconds_of
from edgeinfer.engine.sampling import Sampling
from edgeinfer.errors import InvalidRequest
from edgeinfer.options import any_seed

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from edgeinfer.options import Parameters

_SAMPLING = set(Sampling.names()) - {"dry_breakers", "logit_bias"}  # numbers, in every dialect
_MOST_STOPS, _LONGEST_STOPS = 256, 1 << 16  # each is looked for at every character
_MOST_BIASED = 1024  # tokens: each costs all requests of a step 0.2 us
MOST_ANSWERS = 2048  # to one request
_ANY_SEED = -1  # as llama.cpp, Ollama and LM Studio have it
_NOTHING_ASKED: tuple[Any, ...] = (None, False, 0, "", [], {}, {"type": "text"}, ["text"])

# pydantic's kind of error -> what is wrong
_PROBLEMS = {
    "missing": "is missing",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "must be an object"),
    "literal_error": "must be {expected}",
    "union_tag_not_found": "{discriminator} is missing",
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}, not '{tag}'",
    "string_too_short": "must have at least {min_length} characters",
    "too_short": "must have at least {min_length}, not {actual_length}",
    "too_long": "must have at most {max_length}, not {actual_length}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "value_error": "{error}",
}


class InvalidParameter(InvalidRequest):
    """A field of a body, as `messages[0].role`, is missing or wrong; "": the body itself is."""

    def __init__(self, param: str, problem: str, *, hint: str | None = None) -> None:
        super().__init__(f"{param}: {problem}" if param else problem, hint=hint, param=param or None)


def _refuse(value: Any) -> Any:
    if value not in _NOTHING_ASKED:
        raise ValueError("is not supported")
    return value


NotSupported = Annotated[Any, AfterValidator(_refuse)]


def _seconds(duration: object) -> float | None:
    return None if duration is None else seconds_of(duration)


# How long a model shall stay open after the request: seconds, inf: for ever, None: the client does not say.
KeepAlive = Annotated[float | None, BeforeValidator(_seconds)]


Item = TypeVar("Item")

# The first wrong item is told about, a million of them would take a minute.
Many = Annotated[list[Item], Field(fail_fast=True)]

Messages = Annotated[Many[Item], Field(max_length=16_384)]  # more than fit into a million tokens
Tools = Annotated[Many[Item], Field(max_length=1024)]  # one grammar holds the schemas of all


def _several(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else value
    return [text for text in texts if text != ""] if isinstance(texts, list) else texts


def _not_too_many(stops: list[str]) -> list[str]:
    if len(stops) > _MOST_STOPS or sum(map(len, stops)) > _LONGEST_STOPS:
        raise ValueError(f"must be at most {_MOST_STOPS} texts of {_LONGEST_STOPS} characters together")
    return stops


# one or several; an empty one stops nothing
Stops = Annotated[Many[str], BeforeValidator(_several), AfterValidator(_not_too_many)]


def _pairs(given: Any) -> Any:
    return list(given.items()) if isinstance(given, Mapping) else given


# a JSON object as pairs, or a list of them
Pairs = Annotated[
    list[Item],
    Field(fail_fast=True),
    BeforeValidator(_pairs),
    WithJsonSchema({"type": ["object", "array"]}),
]


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


class AnswerBody(NamedBody):
    """A body that is answered as a whole or as a stream."""

    stream: bool = False


# what clients call the number of tokens that an answer has at most
MOST_TOKENS = AliasChoices(
    "max_completion_tokens", "max_tokens", "max_new_tokens", "max_output_tokens", "n_predict"
)


def check_number_of_answers(n: int) -> None:
    """Raises InvalidParameter: more than one request can sensibly ask for, as each takes some kilobytes."""
    if n > MOST_ANSWERS:
        raise InvalidParameter("prompt", f"asks for {n} answers, one request gets at most {MOST_ANSWERS}")


def parameters_of(body: BaseModel, *, seed: int | None = None, **spelled: Any) -> Parameters:
    """What a body gives for `Sampling`, by the names of its fields, whether its dialect has them or not.

    Args:
        seed: for a body that gives none; None: that of the model.
        spelled: parameters that the dialect spells in another way.

    Raises:
        InvalidRequest: there are too many.
    """
    given = {name: value for name, value in body if name in _SAMPLING and value is not None} | spelled
    if given.get("seed") == _ANY_SEED:
        given["seed"] = any_seed() if seed is None else seed
    elif seed is not None:
        given.setdefault("seed", seed)
    n_biased = len(given.get("logit_bias", ()))
    if n_biased > _MOST_BIASED:
        raise InvalidParameter("logit_bias", f"must have at most {_MOST_BIASED}, not {n_biased}")
    return cast("Parameters", given)


AnyBody = TypeVar("AnyBody", bound=BaseModel)


def parsed(kind: type[AnyBody], body: object) -> AnyBody:
    """A decoded JSON body as its type. Raises InvalidRequest; InvalidParameter, which names the field."""
    if not isinstance(body, Mapping):
        raise InvalidRequest("the body must be a JSON object")
    try:
        return kind.model_validate(body)
    except ValidationError as wrong:
        found = [(_path(error, body), error) for error in wrong.errors()]
        # The innermost one of the first that is wrong; several problems: it may have several types.
        field = max((path for path, _ in found if path.startswith(found[0][0])), key=len)
        errors = [error for path, error in found if path == field]
        raise InvalidParameter(field, _problem(errors) + _given(errors[0])) from None


def _problem(errors: Sequence[ErrorDetails]) -> str:
    """What is wrong, in the words of JSON; pydantic's are for those who know its classes."""
    first, *others = dict.fromkeys(
        _PROBLEMS[error["type"]].format(**error.get("ctx", {}))
        if error["type"] in _PROBLEMS
        else error["msg"][:1].lower() + error["msg"][1:]
        for error in errors
    )
    return " or ".join([first, *(other.removeprefix("must be ") for other in others)])


def _given(error: ErrorDetails) -> str:
    """What was given instead, if it is short."""
    value = error["input"]
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(repr(value)) > 40:
        return ""
    return "" if error["type"] == "value_error" else f", not {value!r}"


def _path(error: ErrorDetails, body: object) -> str:
    """Where an error is in the body: pydantic adds which of several types it tried, and that is no field."""
    path, last = "", len(error["loc"]) - 1
    for i, key in enumerate(error["loc"]):
        if isinstance(key, int) and isinstance(body, list) and key < len(body):
            path, body = f"{path}[{key}]", body[key]
        elif isinstance(body, Mapping) and (key in body or (error["type"] == "missing" and i == last)):
            path, body = f"{path}.{key}", body.get(key)
    return path.removeprefix(".")
