"""`edgeinfer list`: the models on this machine, or those that can be pulled by a short name."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from edgeinfer.cli import output


@click.command("list", short_help="List the models on this machine.")
@click.option("--catalog", is_flag=True, help="List the short names that `pull` knows instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def command(catalog: bool, as_json: bool) -> None:
    """List the models that every command takes by name, whoever fetched them.

    Ours, and those of the Hugging Face cache, LM Studio, llama.cpp and Ollama, which run where they lie.
    What is damaged or half fetched is not listed.
    """
    _list_catalog(as_json) if catalog else _list_here(as_json)


def _list_here(as_json: bool) -> None:
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
        texts = [(m.name, output.in_bytes(m.size_bytes), _day(m.modified), m.store) for m in models]
        output.table([("name", "size", "modified", "from"), *texts])
    else:
        output.talk("no models yet: `edgeinfer pull qwen3:4b` fetches one, edgeinfer-tiny is always here")


def _list_catalog(as_json: bool) -> None:
    from edgeinfer.hub.catalog import catalog

    models = catalog().models.values()
    if as_json:
        output.as_json([asdict(model) | {"runnable": model.is_runnable} for model in models])
        return
    rows = []
    for model in models:
        file = model.files.get(model.quant)
        size = output.in_bytes(file.size_bytes) if file and file.size_bytes else ""
        runs = "yes" if model.is_runnable else f"no: {model.architecture}"
        rows.append((model.name, model.quant, size, runs, model.licence, model.repo))
    output.table([("name", "quantization", "size", "runs here", "licence", "repository"), *rows])


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
