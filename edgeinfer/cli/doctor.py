"""`edgeinfer doctor`: what edgeinfer sees of this machine, and what to do about it."""

from __future__ import annotations

import click

from edgeinfer.cli import output
from edgeinfer.text.safe import safe_text


@click.command("doctor", short_help="Tell what edgeinfer sees of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Look at processor, memory, folders, port and network, and tell what to do.

    A bug report should contain it. The speed of memory is measured once, which takes some two seconds.
    """
    from edgeinfer.cli.findings import findings

    found = list(findings())
    if as_json:
        output.as_json({f.name: {"value": f.value, "advice": f.advice} for f in found})
        return
    output.table([(f.name, f.value) for f in found])
    for finding in found:
        if finding.advice is not None:
            output.data(safe_text(f"{output.paint(finding.name, 'cyan')}: {finding.advice}"))
