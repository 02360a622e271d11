"""Options that several commands share. Values are checked where they are used, alike for every door."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from edgeinfer.cli import model_names
from edgeinfer.config.kinds import File, ModelName, OneOf, Switch
from edgeinfer.config.sources import read_settings
from edgeinfer.config.table import PARAMETERS, SETTINGS, Setting
from edgeinfer.errors import InvalidRequest

Command = Callable[..., Any]
MODEL_OPTIONS = ("threads", "context_length", "kv_type", "kv_window", "backend")


def setting_option(name: str, *short: str) -> Callable[[Command], Command]:
    """The option of a setting. Its value is None if it is not given: then the environment and the file tell.

    Args:
        name: in the table.
        short: another name of the option, as "-t".
    """
    setting = SETTINGS[name]
    default = "" if setting.default in (None, ()) else f"  [{setting.default}]"

    def parse(text: str) -> Any:
        return setting.parse(text, setting.option)

    return click.option(
        *short,
        setting.option,
        type=parse,
        metavar=setting.kind.metavar,
        help=setting.about + default,
        shell_complete=lambda ctx, param, begun: values_of(setting, begun),
    )


def values_of(setting: Setting, begun: str) -> list[CompletionItem]:
    """What a shell offers for a value that begins so: words, or files."""
    kind = setting.kind
    if isinstance(kind, ModelName):
        return model_names.here(begun)
    if isinstance(kind, File):
        return [CompletionItem(begun, type="file")]
    words = kind.words if isinstance(kind, OneOf) else ("true", "false") if isinstance(kind, Switch) else ()
    return [CompletionItem(word) for word in words if word.startswith(begun)]


def chosen_model(named: str | None) -> str | None:
    """The model that is named, else the one that is set; None: neither is, the bundled one is meant."""
    if named is not None:
        return named
    model = read_settings().model
    return None if model is None else os.path.expanduser(model)


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
        setting_option("kv_type"),
        setting_option("context_length", "-c"),
        setting_option("threads", "-t"),
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
    longest, *others = (row.name for row in PARAMETERS.values())
    for name in reversed(others):
        command = setting_option(name)(command)
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
    return setting_option(longest, "-n")(command)


def take_model(options: dict[str, Any]) -> dict[str, Any]:
    """Move the arguments of `edgeinfer.load` out of a command's options."""
    return {name: options.pop(name) for name in MODEL_OPTIONS}


def take_generation(options: dict[str, Any]) -> dict[str, Any]:
    """Move the arguments of `Model.generate` out of a command's options; what is not given is left out."""
    found = {name: options.pop(name) for name in [*PARAMETERS, "timeout", "context_shift"]}
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
