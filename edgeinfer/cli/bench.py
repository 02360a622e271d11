"""`edgeinfer bench`: how fast this machine is, how fast we are on it, and how fast others are beside us."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeinfer.cli import model_names, output
from edgeinfer.errors import DiskError, InvalidRequest

if TYPE_CHECKING:
    from edgeinfer.bench.runner import Measure

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_MOST = 1 << 20


def counts(text: str) -> list[int]:
    """Whole numbers with commas between them; an empty text is an empty list."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers like 1,2,4") from None
    for number in numbers:
        if not 0 <= number <= _MOST:
            raise click.BadParameter(f"{number} is not from 0 to {_MOST}")
    return numbers


def positive(text: str) -> list[int]:
    """The same without zeros."""
    numbers = counts(text)
    if 0 in numbers:
        raise click.BadParameter("0 is not a number of anything to measure")
    return numbers


_threads: Decorator = click.option(
    "-t", "--threads", type=positive, metavar="N,...", help="Numbers of threads; default: one a core."
)
_json: Decorator = click.option("--json", "json_to", metavar="FILE", help="Write JSON to FILE; - is stdout.")


def _repetitions(default: int) -> Decorator:
    return click.option(
        "-r",
        "--repetitions",
        type=click.IntRange(1, 1000),
        default=default,
        show_default=True,
        help="Medians of so many.",
    )


@click.group("bench", short_help="Measure this machine, our kernels and models, beside llama.cpp.")
def command() -> None:
    """Measure speed: of models beside llama.cpp, of single kernels, and what this machine can do at most.

    \b
    edgeinfer bench model PATH --against llamacpp
    edgeinfer bench streams PATH --against llama-server
    edgeinfer bench kernels --types Q4_K,Q6_K
    edgeinfer bench chat
    edgeinfer bench limits
    """


@command.command("limits", short_help="What this machine can do at most.")
@_threads
@_repetitions(7)
@_json
def limits(threads: list[int] | None, repetitions: int, json_to: str | None) -> None:
    """Streaming reads, multiply-adds of the SIMD target in use, and barriers, by number of threads."""
    from edgeinfer import machine
    from edgeinfer.bench import report
    from edgeinfer.bench.limits import measure_limits

    found = measure_limits(threads or _powers(machine.n_threads()), repetitions)
    _write({"limits": [asdict(x) for x in found]}, report.of_limits(found), json_to, None)


@command.command("kernels", short_help="Single kernels on one thread.")
@click.option("--types", metavar="TYPE,...", help="Tensor types; default: all.")
@click.option("--targets", metavar="TARGET,...", help="SIMD targets; default: all that run here.")
@click.option("--from-memory", is_flag=True, help="Weights come from memory instead of the cache.")
@_json
def kernels(types: str | None, targets: str | None, from_memory: bool, json_to: str | None) -> None:
    """Time per 256 weights, best of some runs: direct kernels for few tokens, prefill kernels for many."""
    from edgeinfer import _native
    from edgeinfer.bench import report
    from edgeinfer.bench.kernels import IN_CACHE_BYTES, IN_MEMORY_BYTES, measure_kernels

    chosen = _names("tensor type", types, _native.bench.TENSOR_TYPES)
    on = _names("target", targets, [t for t in _native.targets() if t != "scalar" or targets])
    figures = list(measure_kernels(on, chosen, IN_MEMORY_BYTES if from_memory else IN_CACHE_BYTES))
    _write({"kernels": [asdict(f) for f in figures]}, report.of_kernels(figures), json_to, None)


@command.command("model", short_help="A whole model, beside llama.cpp if asked for.")
@model_names.argument("model", required=False)
@_threads
@_repetitions(7)
@click.option(
    "--prefill",
    type=positive,
    default="128,512,2048",
    metavar="N,...",
    help="Prompt lengths.  [128,512,2048]",
)
@click.option(
    "--depth",
    type=counts,
    default="0,4096",
    metavar="N,...",
    help="Decode after so many tokens.  [0,4096]",
)
@click.option(
    "--batch",
    type=positive,
    default="1,2,4,8,16",
    metavar="N,...",
    help="Sequences decoded together.  [1,2,4,8,16]",
)
@click.option(
    "--verify", type=positive, default="8", metavar="N,...", help="Tokens checked in one step.  [8]"
)
@click.option("--against", metavar="PEER", help="`llamacpp` for llama-cpp-python, or a llama-bench program.")
@click.option(
    "--against-python", metavar="PATH", help="The interpreter that has llama_cpp; default: this one."
)
@click.option("--profile", is_flag=True, help="Tell where the time of a step goes.")
@click.option("--profile-layers", is_flag=True, help="The same for each layer.")
@_json
@click.option("--markdown", "markdown_to", metavar="FILE", help="Write the tables to FILE too.")
def model(model: str | None, json_to: str | None, markdown_to: str | None, **options: Any) -> None:
    """Prefill, decode and batches of MODEL, a file or the name of a bundled model.

    Medians over repetitions with the least and the most of them; our engine, the peer and the limit of the
    machine take turns, since shared machines change their speed from minute to minute.
    """
    from edgeinfer.bench import report

    found = _measure_model(model, **options)
    _write(found.as_json(), report.of_model(found), json_to, markdown_to)


def _measure_model(
    model: str | None,
    *,
    threads: list[int] | None,
    repetitions: int,
    prefill: list[int],
    depth: list[int],
    batch: list[int],
    verify: list[int],
    against: str | None,
    against_python: str | None,
    profile: bool,
    profile_layers: bool,
) -> Any:
    from edgeinfer import machine
    from edgeinfer.bench.model import Plan, measure_model
    from edgeinfer.hub.names import find_model

    measures = _measures(prefill, depth, batch, verify)
    if not measures:
        raise InvalidRequest(
            "there is nothing to measure", hint="give --prefill, --depth, --batch or --verify"
        )
    plan = Plan(
        threads or [machine.n_threads()], measures, repetitions, profile or profile_layers, profile_layers
    )
    path = str(find_model(model))
    with _progress(plan.n_measurements) as bar:
        return measure_model(path, plan, against, against_python, lambda: bar.update(1))


@command.command("streams", short_help="Several clients at once, beside llama-server if asked for.")
@model_names.argument("model", required=False)
@click.option("-t", "--threads", type=click.IntRange(min=1), metavar="N", help="Default: one a core.")
@_repetitions(3)
@click.option(
    "--streams", type=positive, default="1,2,4,8,16", metavar="N,...", help="Clients.  [1,2,4,8,16]"
)
@click.option("--prompt", type=click.IntRange(1, 1 << 17), default=512, metavar="N", help="Tokens.  [512]")
@click.option("--answer", type=click.IntRange(1, 1 << 17), default=128, metavar="N", help="Tokens.  [128]")
@click.option("--against", metavar="PROGRAM", help="A llama-server or llama-batched-bench program.")
@_json
@click.option("--markdown", "markdown_to", metavar="FILE", help="Write the tables to FILE too.")
def streams(
    model: str | None,
    threads: int | None,
    repetitions: int,
    streams: list[int],
    prompt: int,
    answer: int,
    against: str | None,
    json_to: str | None,
    markdown_to: str | None,
) -> None:
    """Whole answers of MODEL for clients who all ask at the same moment, each with a prompt of its own.

    Tokens/s are those of all clients together, read and generated.
    """
    from edgeinfer import machine
    from edgeinfer.bench import report
    from edgeinfer.bench.streams import Load, measure_streams
    from edgeinfer.hub.names import find_model

    loads = [Load(n, prompt, answer) for n in streams]
    if not loads:
        raise InvalidRequest("there is nothing to measure", hint="give --streams")
    with _progress(len(loads) * repetitions) as bar:
        found = measure_streams(
            str(find_model(model)),
            loads,
            n_threads=threads or machine.n_threads(),
            repetitions=repetitions,
            against=against,
            advance=lambda: bar.update(1),
        )
    _write(found.as_json(), report.of_streams(found), json_to, markdown_to)


@command.command("beside", short_help="A running answer beside a long prompt.")
@model_names.argument("model", required=False)
@click.option("-t", "--threads", type=click.IntRange(min=1), metavar="N", help="Default: one a core.")
@_repetitions(3)
@click.option("--prompt", type=click.IntRange(16, 1 << 17), default=8192, metavar="N", help="Tokens.  [8192]")
@_json
def beside(
    model: str | None, threads: int | None, repetitions: int, prompt: int, json_to: str | None
) -> None:
    """How much a running answer is disturbed while another client's long prompt is read, and that by it."""
    from edgeinfer import machine
    from edgeinfer.bench import report
    from edgeinfer.bench.beside import measure_beside
    from edgeinfer.hub.names import find_model

    path, n_threads = str(find_model(model)), threads or machine.n_threads()
    with _progress(repetitions) as bar:
        found = measure_beside(
            path, prompt, n_threads=n_threads, repetitions=repetitions, advance=lambda: bar.update(1)
        )
    _write(found.as_json(), report.of_beside(found), json_to, None)


@command.command("http", short_help="What the port adds to a token.")
@model_names.argument("model", required=False)
@click.option("-t", "--threads", type=click.IntRange(min=1), metavar="N", help="Default: one a core.")
@_repetitions(9)
@click.option("--streams", type=click.IntRange(1, 64), default=8, show_default=True, metavar="N")
@click.option("--answer", type=click.IntRange(16), default=256, metavar="N", help="Tokens of each.  [256]")
@_json
def http(
    model: str | None, threads: int | None, repetitions: int, streams: int, answer: int, json_to: str | None
) -> None:
    """Streams to a client in another process, in turns with the same streams read in this one."""
    import edgeinfer
    from edgeinfer.bench import report
    from edgeinfer.bench.http import measure_http

    with edgeinfer.load(model, threads=threads) as opened, _progress(repetitions) as bar:
        found = measure_http(
            opened,
            n_streams=streams,
            n_answer=answer,
            repetitions=repetitions,
            advance=lambda: bar.update(1),
        )
    _write(found.as_json(), report.of_http(found), json_to, None)


@command.command("chat", short_help="How soon a key is drawn in the chat.")
@model_names.argument("model", required=False)
@_repetitions(5)
@click.option(
    "--keys", type=click.IntRange(1, 10_000), default=200, metavar="N", help="Pressed each time.  [200]"
)
@_json
def chat(model: str | None, repetitions: int, keys: int, json_to: str | None) -> None:
    """Start `edgeinfer chat` some times, press keys in it, and again while an answer comes at full speed."""
    from edgeinfer.bench import report
    from edgeinfer.bench.chat import measure_chat
    from edgeinfer.hub.names import find_model
    from edgeinfer.loading import load_tokenizer

    path = str(find_model(model))
    endless = ["--context-shift", "--temperature", "0.8", "--seed", "1"]
    endless += [f"--logit-bias={id}=-inf" for id in load_tokenizer(path).eog_ids]
    with _progress(repetitions + 2 * keys) as bar:
        found = measure_chat(path, endless, n_starts=repetitions, n_keys=keys, advance=lambda: bar.update(1))
    _write(found.as_json(), report.of_chat(found), json_to, None)


def _measures(prefill: list[int], depth: list[int], batch: list[int], verify: list[int]) -> list[Measure]:
    from edgeinfer.bench.runner import Measure

    return [
        *(Measure("prefill", n) for n in prefill),
        *(Measure("decode", 1, d) for d in depth),
        *(Measure("batch", n) for n in batch),
        *(Measure("verify", n) for n in verify),
    ]


def _progress(length: int) -> Any:
    import sys

    return click.progressbar(length=length, label="measuring", file=sys.stderr, show_pos=True)


def _powers(most: int) -> list[int]:
    """1, 2, 4 ... and the most."""
    return sorted({1 << i for i in range(most.bit_length()) if 1 << i <= most} | {most})


def _names(kind: str, given: str | None, known: Sequence[str]) -> list[str]:
    if given is None:
        return list(known)
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise InvalidRequest(f"there is no {kind} {name!r} here", hint=f"there are {', '.join(known)}")
    return names


def _write(document: dict[str, Any], tables: str, json_to: str | None, markdown_to: str | None) -> None:
    if json_to == "-":
        output.as_json(document)
    else:
        output.data(tables)
    for name, text in ((json_to, json.dumps(document, indent=1)), (markdown_to, tables)):
        if name is None or name == "-":
            continue
        try:
            Path(name).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise DiskError(f"cannot write {name}: {error.strerror}") from error
