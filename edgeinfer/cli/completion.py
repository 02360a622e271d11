"""`edgeinfer completion`: scripts that teach a shell our commands."""

from __future__ import annotations

import click

from edgeinfer.cli import output


@click.command("completion", short_help="Print a shell completion script.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  eval "$(edgeinfer completion bash)"        in ~/.bashrc
    zsh:   eval "$(edgeinfer completion zsh)"         in ~/.zshrc
    fish:  edgeinfer completion fish | source         in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, "click knows the three shells"
    cli = ctx.find_root().command
    if shell == "bash":  # it would take the colon of a name for the end of a word
        output.data("COMP_WORDBREAKS=${COMP_WORDBREAKS//:}")
    output.data(found(cli, {}, "edgeinfer", "_EDGEINFER_COMPLETE").source_template % _names())


def _names() -> dict[str, str]:
    """What click fills its templates with, without asking the shell for its version."""
    return {
        "complete_func": "_edgeinfer_completion",
        "complete_var": "_EDGEINFER_COMPLETE",
        "prog_name": "edgeinfer",
    }
