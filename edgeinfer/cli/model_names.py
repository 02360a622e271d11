"""Names of models, as a shell completes them: at once, no header is read and nobody is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

_Command = TypeVar("_Command", bound=Callable[..., Any])
# What begins so. Files only where no model does: the function of bash forgets the names when it sees files.
Complete = Callable[[str], list[CompletionItem]]


def here(begun: str) -> list[CompletionItem]:
    """Models on this machine, else files."""
    return _beginning(begun, _names_here()) or [CompletionItem(begun, type="file")]


def to_pull(begun: str) -> list[CompletionItem]:
    """Short names of the catalog."""
    return _beginning(begun, _names_to_pull())


def anywhere(begun: str) -> list[CompletionItem]:
    """All of them, else files."""
    return _beginning(begun, [*_names_to_pull(), *_names_here()]) or [CompletionItem(begun, type="file")]


def argument(
    name: str, complete: Complete = here, *, only_first: bool = False, **more: Any
) -> Callable[[_Command], _Command]:
    """click.argument for models.

    Args:
        complete: what a shell offers.
        only_first: of several words the first is a model.
    """

    def offer(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
        return [] if only_first and ctx.params.get(name) else complete(begun)

    return click.argument(name, shell_complete=offer, **more)


def option(about: str, **more: Any) -> Callable[[_Command], _Command]:
    """-m, --model."""

    def offer(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
        return here(begun)

    return click.option("-m", "--model", metavar="MODEL", help=about, shell_complete=offer, **more)


def _names_here() -> list[str]:
    from edgeinfer.hub.names import BUNDLED
    from edgeinfer.hub.store import found_models

    return [*BUNDLED, *(model.name for model in found_models())]


def _names_to_pull() -> Iterable[str]:
    from edgeinfer.hub.catalog import catalog

    return catalog().models


def _beginning(begun: str, names: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.lower().startswith(begun.lower())]
