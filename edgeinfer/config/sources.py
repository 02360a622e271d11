"""Where settings come from, and which source comes before which."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeinfer.config import file
from edgeinfer.config.table import SECTIONS, SETTINGS, Serve, Setting, Settings, Value, nearest, setting_named
from edgeinfer.errors import DiskError, EdgeInferError, InvalidRequest

_PREFIX = "EDGEINFER_"
_MOST_PROBLEMS = 20  # to tell of one file; the nearest name to each takes a millisecond
# by the native engine, by the command line, by `file`
_READ_ELSEWHERE = {"EDGEINFER_TARGET", "EDGEINFER_DEBUG", "EDGEINFER_API_KEY", file.VARIABLE}


@dataclass(frozen=True)
class Layer:
    """What one source sets, by the names of the table, and what is wrong in it."""

    name: str
    values: Mapping[str, Value]
    problems: Sequence[EdgeInferError] = ()


def layers(
    given: Mapping[str, Value | None] | None = None, of_model: Mapping[str, Value] | None = None
) -> tuple[Layer, ...]:
    """All sources, each before those behind it; what none of them sets has its default in the table.

    What is asked of one answer, as `temperature` in a request, comes before all of them: `options.completed`.

    Args:
        given: what the caller says, by the names of the table; None: nothing.
        of_model: what a Modelfile says of its model.
    """
    said = {name: value for name, value in (given or {}).items() if value is not None}
    return Layer("given", said), in_environment(), Layer("model", of_model or {}), in_file()


def read_settings(
    given: Mapping[str, Value | None] | None = None, of_model: Mapping[str, Value] | None = None
) -> Settings:
    """What is set now, by these and by all other `layers`.

    Raises:
        InvalidRequest: the environment or the file has an unknown name or a senseless value.
        DiskError: the file cannot be read.
    """
    return _record(merged(layers(given, of_model)))


def merged(sources: Sequence[Layer]) -> Mapping[str, Value]:
    """What holds of several, the first before the others. Raises the first problem that one of them has."""
    for source in sources:
        for problem in source.problems:
            raise problem
    return {name: value for source in reversed(sources) for name, value in source.values.items()}


def in_environment() -> Layer:
    """What variables that begin with EDGEINFER_ set."""
    values, problems = {}, []
    for variable, text in sorted(os.environ.items()):
        if variable.startswith(_PREFIX) and variable not in _READ_ELSEWHERE:
            try:
                row = _of_variable(variable)
                values[row.name] = row.parse(text, variable)
            except InvalidRequest as problem:
                problems.append(problem)
    return Layer("environment", values, problems)


def in_file() -> Layer:
    """What `config.toml` sets; nothing for a user without a home."""
    try:
        path = file.config_file()
    except DiskError:
        return Layer("file", {})
    values, problems = {}, list[EdgeInferError]()
    try:
        if os.environ.get(file.VARIABLE) and not os.path.exists(path):
            hint = "`edgeinfer config set` makes it"
            raise DiskError(f"{file.VARIABLE} names {path}, which is not there", hint=hint)
        for name, value in file.entries(file.parse(file.read_text(path), path)):
            if len(problems) == _MOST_PROBLEMS:
                break
            try:
                values[name] = setting_named(name, f"{path}: ").check(value, f"{path}: {name}")
            except InvalidRequest as problem:
                problems.append(problem)
    except EdgeInferError as problem:
        problems.append(problem)
    return Layer("file", values, problems)


def _of_variable(variable: str) -> Setting:
    rows = {row.variable: row for row in SETTINGS.values()}
    if variable in rows:
        return rows[variable]
    near = nearest(variable.removeprefix(_PREFIX).lower())
    hint = "`edgeinfer config` lists all" if near is None else f"did you mean {near.variable}?"
    raise InvalidRequest(f"{variable} is not a setting", hint=hint)


def _record(values: Mapping[str, Value]) -> Settings:
    parts: dict[str, dict[str, Value]] = {section: {} for section in ("", *SECTIONS)}
    for name, value in values.items():
        section, _, field = name.rpartition(".")
        parts[section][field] = value
    serve = Serve(**parts["serve"])  # type: ignore[arg-type]  # the table has checked them
    return Settings(**parts[""], sampling=parts["sampling"], serve=serve)  # type: ignore[arg-type]
