"""`edgeinfer fit`: whether a model fits into this machine and how fast it will be, before it is fetched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from edgeinfer.cli import model_names, output
from edgeinfer.errors import EXIT_AND_STATUS
from edgeinfer.text.safe import safe_text

if TYPE_CHECKING:
    from edgeinfer.bench.speed import Speed
    from edgeinfer.hub.fit import Fit


@click.command("fit", short_help="Tell whether a model fits into this machine, and how fast it will be.")
@model_names.argument("name", model_names.anywhere)
@click.option("-c", "--context", type=int, metavar="N", help="Tokens of a request; default: as `run` takes.")
@click.option(
    "--parallel",
    type=int,
    default=1,
    metavar="N",
    help="Requests at once, four of them with a full context.  [1]",
)
@click.option("--kv-type", metavar="TYPE", help="f16, q8_0 (53 % of its memory) or iq4_nl (28 %).")
@click.option("--remeasure", is_flag=True, help="Measure this machine again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    name: str, context: int | None, parallel: int, kv_type: str | None, remeasure: bool, as_json: bool
) -> int:
    """Tell what the model NAME takes of the memory that is free, and how fast it will be.

    Of a model that is not here only the header is fetched; without a network the catalog is asked. The
    speed of this machine is measured once, which takes a few seconds. Exits with 0 if the model fits,
    even if tightly, with 4 if it does not.
    """
    from edgeinfer.bench.speed import machine_speed
    from edgeinfer.config.table import kv_type_named
    from edgeinfer.hub.fit import fit_model, usual_use

    use = replace(usual_use(), context_length=context, parallel=parallel)
    if kv_type is not None:
        use = replace(use, kv_type=kv_type_named(kv_type))
    fit = fit_model(name, use)
    speed = machine_speed(remeasure=remeasure)
    if as_json:
        output.as_json(_facts(fit, speed))
    else:
        _print(fit, speed)
    return EXIT_AND_STATUS["not_enough_memory"][0] if fit.verdict == "does not fit" else 0


def _facts(fit: Fit, speed: Speed) -> dict[str, Any]:
    return {
        "name": fit.name,
        "verdict": fit.verdict,
        "is_estimate": fit.is_estimate,
        "bytes": {
            "weights": fit.weight_bytes,
            "kv": fit.kv_bytes,
            "work": fit.work_bytes,
            "total": fit.total_bytes,
            "available": fit.memory.available,
        },
        "context": fit.context_length,
        "parallel": fit.parallel,
        "kv_type": fit.kv_type,
        "decode_tokens_per_s": round(speed.decode(fit.work), 1),
        "prefill_tokens_per_s": round(speed.prefill(fit.work), 1),
        "suggestion": fit.smaller if fit.verdict == "does not fit" else None,
    }


def _print(fit: Fit, speed: Speed) -> None:
    requests = f"{fit.parallel} x {fit.context_length}" if fit.parallel > 1 else f"{fit.context_length}"
    output.table(
        [
            ("weights", output.in_bytes(fit.weight_bytes)),
            ("keys and values", f"{output.in_bytes(fit.kv_bytes)} at {requests} tokens, {fit.kv_type}"),
            ("to compute in", output.in_bytes(fit.work_bytes)),
            ("together", output.in_bytes(fit.total_bytes)),
            ("free memory", output.in_bytes(fit.memory.available)),
            ("answers", f"about {speed.decode(fit.work):.0f} tokens/s"),
            ("prompts", f"about {speed.prefill(fit.work):.0f} tokens/s"),
        ],
        title=fit.name,
    )
    if fit.is_estimate:
        output.talk("note: the hub cannot be asked; this is about what the catalog tells")
    output.data(fit.verdict)
    if fit.verdict == "does not fit":
        output.talk(f"hint: {safe_text(fit.advice)}")
