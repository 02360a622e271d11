"""`edgeinfer batch`: a file of requests, answered in the background."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

from edgeinfer import machine
from edgeinfer.cli import model_names, output
from edgeinfer.cli.options import model_options

if TYPE_CHECKING:
    from tqdm import tqdm

    from edgeinfer.batch.run import Progress


@click.command("batch", short_help="Answer a file of requests in the background.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "to", type=click.Path(path_type=Path), required=True, help="Where results go."
)
@model_names.option("Which model; default: edgeinfer-tiny.")
@click.option("--seed", type=int, default=0, metavar="N", help="Another seed, other answers.  [0]")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
@model_options
def command(file: Path, to: Path, model: str | None, seed: int, as_json: bool, **loading: Any) -> int:
    """Answer the requests in FILE, many at once, and let everything else on this machine go first.

    FILE and the output are in the format of OpenAI's Batch API: one JSON object a line, for
    /v1/chat/completions, /v1/completions or /v1/embeddings. Results are written as they finish, in any
    order: custom_id tells which is which. MODEL answers all lines, whatever model they name. A request
    without a seed gets one from its custom_id and --seed, so that the same command gives the same answers.

    A run that was stopped, or met wrong lines, goes on with the same command: what is answered is kept, what
    failed is tried again.

    \b
    edgeinfer batch in.jsonl -o out.jsonl -m model.gguf

    Exit code 0: every line is answered; 1: some failed, the output tells why; 130: stopped by Ctrl-C.
    """
    machine.lower_priority()  # before anything starts threads, as numpy does
    import edgeinfer
    from edgeinfer.batch import lines
    from edgeinfer.batch.results import ResultFile
    from edgeinfer.batch.run import BatchRun

    started = time.perf_counter()
    with (
        lines.open_input(file) as source,
        ResultFile(to) as results,
        edgeinfer.load(model, **loading) as loaded,
        _bar(source) as bar,
    ):
        run = BatchRun(loaded, results, seed=seed, show=lambda progress: _show(bar, progress))
        try:
            asyncio.run(run.run(lines.read(source, f"{loaded.name} {seed}")))
        except KeyboardInterrupt:
            bar.close()
            n = run.progress.n_kept + run.progress.n_answered
            output.talk(f"stopped: {n} answers are in {to}, the same command goes on")
            raise
    report = _report(run.progress, time.perf_counter() - started)
    if as_json:
        output.as_json(report)
    else:
        output.talk(
            "{answered} answered, {kept} kept from before, {failed} failed; "
            "{completion_tokens} tokens in {total_s:.1f} s, {tokens_per_s:.1f} tokens/s".format(**report)
        )
    return 1 if run.progress.n_failed else 0


def _bar(source: IO[bytes]) -> tqdm[NoReturn]:
    """A progress bar on stderr; nothing is shown, or counted, when that is not a terminal."""
    from tqdm import tqdm

    from edgeinfer.batch import lines

    visible = output.is_terminal(sys.stderr)
    n_lines = lines.count(source) if visible and source.seekable() else None  # not of a pipe
    return tqdm(total=n_lines, unit=" requests", disable=not visible)


def _show(bar: tqdm[NoReturn], progress: Progress) -> None:
    bar.initial = progress.n_kept  # the speed is that of this run
    if not bar.disable:
        speed = progress.n_generated / max(bar.format_dict["elapsed"], 1e-3)
        bar.set_postfix_str(f"{speed:.0f} tokens/s", refresh=False)
    bar.update(progress.n_lines - bar.n)


def _report(progress: Progress, total_s: float) -> dict[str, Any]:
    return {
        "answered": progress.n_answered,
        "kept": progress.n_kept,
        "failed": progress.n_failed,
        "prompt_tokens": progress.n_prompt,
        "cached_tokens": progress.n_cached,
        "completion_tokens": progress.n_generated,
        "total_s": round(total_s, 6),
        "tokens_per_s": round(progress.n_generated / total_s, 3),
    }
