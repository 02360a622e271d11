"""The command `edgeinfer`: finds the command asked for; every error becomes two lines and an exit code.

Commands are imported when they run, so that `--version` and `--help` cost nothing but click.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import keyword
import os
import signal
import sys
from collections.abc import Sequence

import click

import edgeinfer
from edgeinfer.cli import output
from edgeinfer.errors import EdgeInferError

# name -> one line of help; the command is `command` in edgeinfer.cli.<name>
COMMANDS: dict[str, str] = {
    "run": "Answer a prompt, or talk line by line",
    "chat": "Talk with a model",
    "serve": "Answer editors and agents on a port",
    "ps": "List the models that a server has open",
    "stop": "Make a server close a model",
    "batch": "Answer a file of requests in the background",
    "pull": "Fetch models by name",
    "fit": "Tell whether a model fits into this machine",
    "list": "List the models on this machine",
    "rm": "Remove models that edgeinfer keeps",
    "cp": "Call a model by one more name",
    "import": "Call a model file by a name",
    "create": "Give a model a system message, parameters and a name",
    "bundle": "Carry models to a machine without a network, in one file",
    "show": "Tell what is in a model file",
    "check": "Parse and validate model files, run nothing",
    "embed": "Turn texts into vectors",
    "tokenize": "Cut text into a model's tokens",
    "perplexity": "Measure how well a model predicts a text",
    "bench": "Measure speed, beside llama.cpp if asked for",
    "config": "Show and change settings",
    "doctor": "Tell what edgeinfer sees of this machine",
    "completion": "Print a shell completion script",
}
ALIASES = {"ls": "list"}
# These need sockets to this machine even when offline; serve, chat and doctor close them once they need none.
_ASKS_THIS_MACHINE = {"serve", "chat", "ps", "stop", "bench", "doctor"}
_TELL_OF_SETTINGS = {"config", "doctor", "completion"}  # they work with wrong ones


def _go_offline(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    """Before a command runs: from here on no other machine is reached."""
    if given:
        os.environ["EDGEINFER_OFFLINE"] = "1"  # for processes that we start, too
    if ctx.parent is None:
        return  # the command that follows has this option too
    from edgeinfer.config.sources import read_settings

    path = ctx.command_path.split()
    try:
        offline = read_settings().offline
    except EdgeInferError:
        if path[1] not in _TELL_OF_SETTINGS:
            raise
        return
    if offline:
        from edgeinfer.hub.offline import forbid_connections, forbid_sockets

        forbid_connections()
        if ALIASES.get(path[1], path[1]) not in _ASKS_THIS_MACHINE:
            forbid_sockets()


@functools.cache
def _imported(name: str) -> click.Command:
    module = f"{name}_" if keyword.iskeyword(name) else name
    command = importlib.import_module(f"edgeinfer.cli.{module}").command
    assert isinstance(command, click.Command)
    for each in (command, *(command.commands.values() if isinstance(command, click.Group) else ())):
        each.params.append(_offline_option(hidden=True))  # people put it anywhere
    return command


def _offline_option(*, hidden: bool) -> click.Option:
    return click.Option(
        ["--offline"],
        is_flag=True,
        expose_value=False,
        hidden=hidden,
        callback=_go_offline,
        help="Make a connection to any other machine impossible; also EDGEINFER_OFFLINE=1.",
    )


class _Commands(click.Group):
    """A group that imports a command only when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        return _imported(name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS.keys() | ALIASES and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=2)
            hint = "did you mean " + " or ".join(f"`edgeinfer {n}`" for n in near) if near else None
            raise _Usage(f"there is no command {args[0]!r}", hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


class _Usage(click.UsageError):
    """A usage error with a hint of its own."""

    def __init__(self, message: str, hint: str | None) -> None:
        super().__init__(message)
        self.hint = hint


@click.command(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(edgeinfer.__version__, "-V", "--version", message="edgeinfer %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Run language models on this machine, with or without a network.

    \b
    edgeinfer run "How do I download a model?"    ask the bundled model
    edgeinfer chat MODEL                          talk with a model
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


cli.params.append(_offline_option(hidden=False))


def main(args: Sequence[str] | None = None) -> None:
    """Run a command line and exit with the code that errors.EXIT_AND_STATUS gives."""
    sys.exit(_exit_code(args))


def console() -> None:
    """The installed command: `main` in a process of its own."""
    try:
        output.open_streams()
        main()
    finally:
        # The outcome is known: a Ctrl-C from here on must not print a traceback over it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _exit_code(args: Sequence[str] | None) -> int:
    try:
        result = cli.main(args=args, prog_name="edgeinfer", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.UsageError as wrong:
        path = wrong.ctx.command_path if wrong.ctx is not None else "edgeinfer"
        hint = getattr(wrong, "hint", None) or f"see `{path} --help`"
        message = " ".join(wrong.format_message().split())  # click lists choices on lines of their own
        output.error(message.rstrip("."), hint)
        return 2
    except click.ClickException as failed:
        output.error(failed.format_message().rstrip("."), None)
        return 1
    except EdgeInferError as failed:
        output.error(failed.message, failed.hint)
        return failed.exit_code
    except (KeyboardInterrupt, click.Abort):
        return 130
    except Exception as bug:
        if os.environ.get("EDGEINFER_DEBUG"):
            raise
        output.error(
            f"internal error: {type(bug).__name__}: {bug}",
            "please report this; EDGEINFER_DEBUG=1 shows where it happened",
        )
        return 1
