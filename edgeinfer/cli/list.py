"""`edgeinfer list`: the models on this machine."""

from __future__ import annotations

import time

import click

from edgeinfer.cli import output


@click.command("list", short_help="List the models on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def command(as_json: bool) -> None:
    """List the models that every command takes by name, whoever fetched them.

    Ours, and those of the Hugging Face cache, LM Studio, llama.cpp and Ollama, which run where they lie.
    What is damaged or half fetched is not listed.
    """
    from edgeinfer.hub.store import local_models

    models = local_models()
    if as_json:
        rows = [
            {
                "name": m.name,
                "names": m.names,
                "path": str(m.path),
                "bytes": m.size_bytes,
                "sha256": m.sha256,
                "modified": m.modified,
                "store": m.store,
                "shards": len(m.files),
            }
            for m in models
        ]
        output.as_json(rows)
    elif models:
        head = ("name", "size", "modified", "from")
        rows_of_text = [(m.name, output.in_bytes(m.size_bytes), _day(m.modified), m.store) for m in models]
        output.table([head, *rows_of_text])
    else:
        output.talk("no models yet: `edgeinfer pull qwen3:4b` fetches one, edgeinfer-tiny is always here")


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
