"""`edgeinfer pull`: fetch a model, go on where an earlier attempt stopped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from edgeinfer.cli import model_names, output
from edgeinfer.cli.progress import bar_of, say_above
from edgeinfer.errors import (
    BadModelFile,
    DiskError,
    EdgeInferError,
    InvalidRequest,
    NetworkError,
    NotEnoughMemory,
    Offline,
    UnsupportedModel,
)
from edgeinfer.text.safe import safe_text

if TYPE_CHECKING:
    from pathlib import Path

    from edgeinfer.hub.pull import Plan
    from edgeinfer.hub.transfer import Patience


@click.command("pull", short_help="Fetch models by name.")
@model_names.argument("names", model_names.to_pull, nargs=-1, required=True, metavar="NAME...")
@click.option("--dry-run", is_flag=True, help="Tell what would be fetched, and fetch nothing.")
@click.option("-y", "--yes", is_flag=True, help="Fetch also what will not run on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per name.")
def command(names: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool) -> None:
    """Fetch models into the Hugging Face cache, where other programs find them too.

    A pull that was interrupted goes on where it stopped; a model appears when all of it is here and its
    checksum is right. HF_TOKEN, HF_ENDPOINT, HF_HOME and HTTPS_PROXY are honoured.

    \b
    edgeinfer pull qwen3:4b
    edgeinfer pull user/repo:Q4_K_M
    edgeinfer pull https://example.com/model.gguf
    """
    from edgeinfer.hub.pull import plan_pull
    from edgeinfer.hub.transfer import Patience

    patience = Patience(on_wait=_tell_of_another_attempt)
    for name in names:
        try:
            plan = plan_pull(name, patience)
        except Offline:
            if not _tell_here(name, as_json):
                raise
            continue
        if plan.here_bytes() == 0:  # what was begun was agreed to
            _look_before(plan, ask=not (yes or dry_run))
        if dry_run:
            _tell(plan, as_json, {})
            continue
        path = str(_pull(plan, patience))
        if as_json:
            _tell(plan, as_json, {"path": path})
        else:
            output.data(safe_text(path))


def _tell_here(name: str, as_json: bool) -> bool:
    """Whether a model is here without asking the hub: offline that is as good as pulled."""
    from edgeinfer.hub.names import matching
    from edgeinfer.hub.store import local_models

    found = matching(name, local_models())
    if len(found) != 1:
        return False
    path = str(found[0].path)
    output.as_json({"name": name, "path": path}) if as_json else output.data(safe_text(path))
    return True


def _look_before(plan: Plan, *, ask: bool) -> None:
    """Tell whether it will run here, before gigabytes come; if asked to, wait for a word where it will not.

    Raises:
        UnsupportedModel, NotEnoughMemory: it will not, and nobody is there to ask.
    """
    from edgeinfer.bench.speed import stored_speed
    from edgeinfer.hub.fit import fit_plan, usual_use

    problem: EdgeInferError
    try:
        fit = fit_plan(plan, usual_use())
    except UnsupportedModel as unsupported:
        problem = UnsupportedModel(unsupported.message, hint="other programs may run it")
    except (BadModelFile, NetworkError, DiskError, InvalidRequest):  # the pull itself will tell
        return
    else:
        line = f"{plan.name} {fit.summary(stored_speed())}"
        if fit.verdict != "does not fit":
            output.talk(safe_text(line))
            return
        problem = NotEnoughMemory(line, hint=fit.advice)
    _ask_about(problem) if ask else output.talk(safe_text(problem.message))


def _ask_about(problem: EdgeInferError) -> None:
    """Go on only with a word of the person who waits."""
    if not output.is_terminal(sys.stdin):
        problem.hint = f"{problem.hint}; --yes fetches it all the same"
        raise problem
    question = f"{safe_text(problem.message)}\n{safe_text(problem.hint or '')}\nfetch it all the same?"
    click.confirm(question, abort=True, err=True)


def _tell_of_another_attempt(why: str, seconds: float) -> None:
    say_above(f"{why}: trying again in {seconds:.1f} s")


def _pull(plan: Plan, patience: Patience) -> Path:
    """Fetch it, with a bar for people."""
    from edgeinfer.hub.pull import pull

    with bar_of(plan.name, plan.size_bytes, plan.here_bytes()) as report:
        return pull(plan, patience, report)


def _tell(plan: Plan, as_json: bool, more: dict[str, Any]) -> None:
    files = [item.file for item in plan.items]
    if as_json:
        rows = [{"file": file.name, "bytes": file.size_bytes, "sha256": file.sha256} for file in files]
        source = {"name": plan.name, "repo": plan.repo, "commit": plan.commit}
        counts = {"bytes": plan.size_bytes, "here_bytes": plan.here_bytes()}
        output.as_json({**source, **counts, "files": rows, **more})
        return
    output.table([(file.name, output.in_bytes(file.size_bytes)) for file in files])
    missing = plan.size_bytes - plan.here_bytes()
    output.data(f"{output.in_bytes(missing)} of {output.in_bytes(plan.size_bytes)} would be fetched")
