"""The models of a server, as the list of models shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeinfer.errors import NetworkError
from edgeinfer.text.safe import safe_text
from edgeinfer.tui.choices import Choice, Outlook
from edgeinfer.tui.expecting import Expected, Found, Post

_STATES = {"loaded": ("open", "it answers at once"), "loading": ("closed", "it is being opened")}
_CLOSED = ("closed", "the server opens it")


class Served:
    """Posts what a server has told already: `Finding` for the list."""

    def __init__(self, models: Sequence[tuple[Choice, Outlook]], post: Post) -> None:
        post(Found([choice for choice, _ in models]))
        for choice, outlook in models:
            post(Expected(choice, outlook))

    def stop(self) -> None:
        """All has been posted."""


def served_models(where: str, told: Any) -> list[tuple[Choice, Outlook]]:
    """Of the answer to /v1/models. Raises NetworkError: it is none of ours."""
    try:
        return [_read(entry) for entry in told["data"]]
    except (TypeError, KeyError, AttributeError, ValueError):
        raise NetworkError(f"{where} does not tell its models as edgeinfer does") from None


def _read(entry: dict[str, Any]) -> tuple[Choice, Outlook]:
    meta = entry["meta"]
    state, about = _STATES.get(entry["status"]["value"], _CLOSED)
    context = "" if meta["n_ctx"] is None else f"context {int(meta['n_ctx']):,}"
    facts = " \u00b7 ".join(filter(None, [str(meta["ftype"] or ""), context]))
    choice = Choice(str(entry["id"]), int(meta["size"]), "of the server", is_served=True)
    return choice, Outlook(state, about, safe_text(facts))
