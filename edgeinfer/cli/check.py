"""`edgeinfer check`: parse and validate model files, run nothing."""

from __future__ import annotations

from typing import Any

import click

from edgeinfer.cli import output
from edgeinfer.errors import BadModelFile, EdgeInferError
from edgeinfer.text.safe import safe_text


@click.command("check", short_help="Parse and validate model files, run nothing.")
@click.argument("files", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per file.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what is wrong.")
def command(files: tuple[str, ...], as_json: bool, quiet: bool) -> int:
    """Validate each of FILES: structure, tensors, hyperparameters, tokenizer.

    Exits with 0 if all are sound, with 3 if one is damaged or not supported, with 9 if one is not there.
    """
    exit_code = 0
    for name in files:
        problem = _problem(name)
        if as_json:
            output.as_json({"file": name, "ok": problem is None, **_described(problem)})
        elif problem is not None:
            output.error(f"{name}: {problem.message}", problem.hint)
        elif not quiet:
            output.data(f"{safe_text(name)}: ok")
        exit_code = max(exit_code, 0 if problem is None else problem.exit_code)
    return exit_code


def _problem(name: str) -> EdgeInferError | None:
    """What is wrong with a file, or None."""
    from edgeinfer.hub.names import find_model
    from edgeinfer.loading import check_file

    try:
        check_file(find_model(name))
    except EdgeInferError as problem:
        return problem
    except (RecursionError, MemoryError, UnicodeError) as limit:  # of reading the file, not of this program
        return BadModelFile(f"reading it failed: {type(limit).__name__}")
    return None


def _described(problem: EdgeInferError | None) -> dict[str, Any]:
    if problem is None:
        return {}
    return {"code": problem.code, "error": problem.message, "hint": problem.hint}
