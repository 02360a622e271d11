"""`edgeinfer ps`: the models that a server has open."""

from __future__ import annotations

import time
from datetime import datetime

import click

from edgeinfer.cli import output
from edgeinfer.cli.running import ask, server_option

_FOR_EVER_S = 100 * 365 * 86400


@click.command("ps", short_help="List the models that a server has open.")
@server_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def command(url: str | None, as_json: bool) -> None:
    """List the models that a running `edgeinfer serve` has open, and when it closes them."""
    models = ask(url, "/api/ps")["models"]
    if as_json:
        output.as_json(models)
        return
    rows = [
        (m["name"], output.in_bytes(m["size"]), m.get("context_length", ""), _until(m["expires_at"]))
        for m in models
    ]
    output.table([("name", "memory", "context", "closes"), *rows])


def _until(expires_at: str) -> str:
    seconds = datetime.fromisoformat(expires_at).timestamp() - time.time()
    return "never" if seconds > _FOR_EVER_S else f"in {max(0, seconds) / 60:.0f} min"
