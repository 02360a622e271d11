"""Names of models, as a shell completes them: at once, no header is read and nobody is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

_Command = TypeVar("_Command", bound=Callable[..., Any])
Complete = Callable[[str], list[CompletionItem]]  # what begins so


def here(begun: str) -> list[CompletionItem]:
    """Models on this machine, and files."""
    from edgeinfer.hub.names import BUNDLED
    from edgeinfer.hub.store import found_models

    names = [*BUNDLED, *(model.name for model in found_models())]
    return [*_beginning(begun, names), CompletionItem(begun, type="file")]


def to_pull(begun: str) -> list[CompletionItem]:
    """Short names of the catalog."""
    from edgeinfer.hub.catalog import catalog

    return _beginning(begun, catalog().models)


def anywhere(begun: str) -> list[CompletionItem]:
    """All of them."""
    return [*to_pull(begun), *here(begun)]


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


def _beginning(begun: str, names: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.lower().startswith(begun.lower())]
