"""`edgeinfer doctor`: what edgeinfer sees of this machine."""

from __future__ import annotations

import platform

import click

from edgeinfer.cli import output


@click.command("doctor", short_help="Tell what edgeinfer sees of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Print versions, processor, memory and the bundled model: what a bug report should contain."""
    facts = _facts()
    if as_json:
        output.as_json(facts)
    else:
        output.table(facts.items())


def _facts() -> dict[str, str]:
    import edgeinfer
    from edgeinfer import machine
    from edgeinfer.errors import EdgeInferError
    from edgeinfer.hub.names import find_model
    from edgeinfer.hub.offline import is_offline

    memory = machine.memory()
    try:
        bundled = str(find_model())
    except EdgeInferError as missing:
        bundled = missing.message
    return {
        "edgeinfer": edgeinfer.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "threads": str(machine.n_threads()),
        "kernels": ", ".join(_targets()),
        "memory": f"{output.in_bytes(memory.available)} available of {output.in_bytes(memory.total)}",
        "bundled model": bundled,
        "network": "off: nothing is fetched" if is_offline() else "used by `edgeinfer pull` only",
    }


def _targets() -> list[str]:
    """SIMD targets of the native engine that this processor can run, best first."""
    from edgeinfer import _native

    return list(_native.targets())
