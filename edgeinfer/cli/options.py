"""Options that several commands share. Values are checked where they are used, alike for every door."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinfer.errors import InvalidRequest

if TYPE_CHECKING:
    from edgeinfer.text.grammar import Grammar

Command = Callable[..., Any]
MODEL_OPTIONS = ("threads", "context_length", "kv_type", "kv_window", "backend")

# option, type, help; the names are the fields of engine.sampler.Sampling
_SAMPLING: tuple[tuple[str, Any, str], ...] = (
    ("--temperature", float, "0 is greedy, 0.8 usual, more is wilder."),
    ("--top-k", int, "Choose among the K most likely tokens; 0: all.  [40]"),
    ("--top-p", float, "Choose among the most likely tokens with this probability together.  [0.95]"),
    ("--min-p", float, "Leave out tokens less likely than this, relative to the best.  [0.05]"),
    ("--typical-p", float, "Choose among the most typical tokens; 1: off."),
    ("--repeat-penalty", float, "Make recent tokens less likely; 1: off."),
    ("--repeat-last-n", int, "How many tokens are recent; -1: all.  [64]"),
    ("--frequency-penalty", float, "Subtract this for every recent occurrence."),
    ("--presence-penalty", float, "Subtract this from every recent token."),
    ("--dry-multiplier", float, "Strength of the penalty against repeated stretches; 0: off."),
    ("--dry-base", float, "How fast it grows with their length.  [1.75]"),
    ("--dry-allowed-length", int, "Repetitions up to here are free.  [2]"),
    ("--dry-last-n", int, "How many tokens are searched for repetitions; -1: all."),
    ("--xtc-probability", float, "How often the top choices are left out; 0: off."),
    ("--xtc-threshold", float, "What counts as a top choice.  [0.1]"),
    ("--seed", int, "Same seed, same answer."),
)


def model_options(command: Command) -> Command:
    """--threads, --context-length, --kv-type, --kv-window, --backend."""
    for option in (
        click.option("--backend", default="native", show_default=True, help="What runs the model."),
        click.option(
            "--kv-window",
            type=int,
            metavar="N",
            help="See the first 32 and the last N tokens only, and go on without end.",
        ),
        click.option("--kv-type", metavar="TYPE", help="f16, q8_0 (53 % of its memory) or iq4_nl (28 %)."),
        click.option("-c", "--context-length", type=int, metavar="N", help="Tokens of prompt and answer."),
        click.option("-t", "--threads", type=int, metavar="N", help="Threads; default: one a core."),
    ):
        command = option(command)
    return command


def thinking_options(command: Command) -> Command:
    """--think, --no-think, --hide-thinking."""
    for option in (
        click.option("--hide-thinking", is_flag=True, help="Do not show what the model thinks first."),
        click.option("--think/--no-think", default=None, help="Ask a model that can to think first, or not."),
    ):
        command = option(command)
    return command


def sampling_options(command: Command) -> Command:
    """One option for each field of Sampling, and where an answer ends."""
    for name, kind, text in reversed(_SAMPLING):
        metavar = "N" if kind is int else "X"
        command = click.option(name, type=kind, metavar=metavar, help=text)(command)
    command = click.option(
        "--logit-bias", multiple=True, metavar="ID=X", help="Add X to a token's logit; -inf forbids it."
    )(command)
    command = click.option("--stop", multiple=True, metavar="TEXT", help="End the answer before this text.")(
        command
    )
    command = click.option(
        "--context-shift",
        is_flag=True,
        help="With a full context forget its older half, but for the system message, and go on.",
    )(command)
    command = click.option("--timeout", type=float, metavar="SECONDS", help="End after so long.")(command)
    return click.option("-n", "--max-tokens", type=int, metavar="N", help="End after N tokens.")(command)


def grammar_options(command: Command) -> Command:
    """--json-schema, --grammar-file, --regex."""
    for option in (
        click.option("--regex", metavar="PATTERN", help="Answer what this matches as a whole."),
        click.option(
            "--grammar-file",
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="Answer what a grammar in llama.cpp's format (GBNF) allows.",
        ),
        click.option(
            "--json-schema", metavar="SCHEMA", help="Answer JSON of this schema: a file, or itself."
        ),
    ):
        command = option(command)
    return command


def take_grammar(options: dict[str, Any]) -> Grammar | None:
    """Move what the answer has to be out of a command's options."""
    schema, file, regex = (options.pop(name) for name in ("json_schema", "grammar_file", "regex"))
    n_given = sum(value is not None for value in (schema, file, regex))
    if n_given == 0:
        return None
    if n_given > 1:
        raise InvalidRequest("--json-schema, --grammar-file and --regex exclude each other")
    from edgeinfer.text.grammar import Grammar

    if schema is not None:
        return Grammar.json_schema(_schema(schema))
    if file is not None:
        return Grammar.gbnf(Path(file).read_text(encoding="utf-8", errors="replace"))
    return Grammar.regex(regex)


def _schema(text: str) -> Any:
    """JSON, or what is in the file of that name."""
    try:
        if not text.lstrip().startswith(("{", "true", "false")):
            text = Path(text).read_text(encoding="utf-8")
        schema = json.loads(text)
        if not isinstance(schema, dict | bool):
            raise ValueError("it is no object")
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"--json-schema: {error}", hint="give a file, or the schema itself") from None
    return schema


def take_model(options: dict[str, Any]) -> dict[str, Any]:
    """Move the arguments of `edgeinfer.load` out of a command's options."""
    return {name: options.pop(name) for name in MODEL_OPTIONS}


def take_generation(options: dict[str, Any]) -> dict[str, Any]:
    """Move the arguments of `Model.generate` out of a command's options; what is not given is left out."""
    names = [option.removeprefix("--").replace("-", "_") for option, _, _ in _SAMPLING]
    found = {name: options.pop(name) for name in [*names, "max_tokens", "timeout", "context_shift"]}
    found = {name: value for name, value in found.items() if value is not None}
    bias = dict(_bias(text) for text in options.pop("logit_bias"))
    stop = options.pop("stop")
    return found | ({"logit_bias": bias} if bias else {}) | ({"stop": stop} if stop else {})


def _bias(text: str) -> tuple[int, float]:
    token, equals, value = text.partition("=")
    try:
        if not equals or math.isnan(float(value)):
            raise ValueError
        return int(token), float(value)
    except ValueError:
        raise InvalidRequest(f"--logit-bias must be ID=X, not {text!r}") from None
