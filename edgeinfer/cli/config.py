"""`edgeinfer config`: what is set, by whom, and how to change it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from edgeinfer.cli import output
from edgeinfer.cli.options import values_of
from edgeinfer.config.edit import set_in_file, unset_in_file
from edgeinfer.config.file import config_file
from edgeinfer.config.sources import Layer, layers, merged
from edgeinfer.config.table import SETTINGS, Setting, Value, setting_named
from edgeinfer.errors import DiskError
from edgeinfer.text.safe import safe_text


def _setting(name: str) -> Setting:
    """By its name, with - for _ too, as options have it."""
    return setting_named(name.replace("-", "_"))


def _complete_name(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    rows = (row for row in SETTINGS.values() if row.name.startswith(begun))
    return [CompletionItem(row.name, help=row.about) for row in rows]


def _complete_value(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    setting = ctx.params.get("setting")
    return [] if setting is None else values_of(setting, begun)


_name = click.argument("setting", type=_setting, metavar="NAME", shell_complete=_complete_name)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("config", invoke_without_command=True, short_help="Show and change settings.")
@_json
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> int:
    """Show every setting, its value and where that comes from.

    An option of a command comes before the environment (EDGEINFER_ and the name, with _ for the dot), this
    before what is set for a model, this before the file. Exits with 2 if something is set wrongly.

    \b
    edgeinfer config set model qwen3:4b
    EDGEINFER_SERVE_PORT=8081 edgeinfer serve
    """
    if ctx.invoked_subcommand is not None:
        return 0
    sources = layers()
    rows = [(setting, *_found(setting, sources)) for setting in SETTINGS.values()]
    problems = [problem for source in sources for problem in source.problems]
    if as_json:
        output.as_json(
            {
                "file": _file(),
                "settings": {
                    row.name: {"value": value, "from": source, "variable": row.variable, "about": row.about}
                    for row, value, source in rows
                },
                "problems": [problem.message for problem in problems],
            }
        )
    else:
        output.table([(row.name, _text(value), source, row.about) for row, value, source in rows])
        output.talk(safe_text(f"the file: {_file()}"))
        for problem in problems:
            output.error(problem.message, problem.hint)
    return problems[0].exit_code if problems else 0


@command.command("get", short_help="Print the value of a setting.")
@_name
@_json
def get(setting: Setting, as_json: bool) -> None:
    """Print what NAME is now, whoever set it; an empty line: nobody did."""
    value = merged(layers()).get(setting.name, setting.default)
    output.as_json(value) if as_json else output.data(safe_text(_text(value)))


@command.command(
    "set",
    short_help="Change a setting in the file.",
    context_settings={"ignore_unknown_options": True},  # -1 is a value
)
@_name
@click.argument("value", shell_complete=_complete_value)
def set_(setting: Setting, value: str) -> None:
    """Set NAME to VALUE in the file; its comments stay. Several texts have commas between them."""
    path = config_file()
    set_in_file(path, setting.name, setting.parse(value, setting.name))
    output.talk(safe_text(f"{setting.name} is set in {path}"))
    if setting.variable in os.environ:
        output.talk(f"{setting.variable} comes before it")


@command.command("unset", short_help="Take a setting out of the file.")
@click.argument("name", metavar="NAME", shell_complete=_complete_name)
def unset(name: str) -> None:
    """Take NAME out of the file, also a name that is no setting."""
    path = config_file()
    unset_in_file(path, name)
    output.talk(safe_text(f"{path} does not set {name} any more"))


@command.command("path", short_help="Print where the file is.")
def path() -> None:
    """Print where the file is, or would be; EDGEINFER_CONFIG names another."""
    output.data(str(config_file()))


def _found(setting: Setting, sources: Sequence[Layer]) -> tuple[Value | None, str]:
    """The value, and where it is from."""
    found = (
        (source.values[setting.name], source.name) for source in sources if setting.name in source.values
    )
    return next(found, (setting.default, "default"))


def _file() -> str:
    try:
        path = config_file()
    except DiskError as homeless:
        return homeless.message
    return f"{path}{'' if os.path.exists(path) else ' (not there yet)'}"


def _text(value: Value | None) -> str:
    """As `set` takes it."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
