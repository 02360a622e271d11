"""`edgeinfer pull`: fetch a model, go on where an earlier attempt stopped."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from edgeinfer.cli import output
from edgeinfer.cli.progress import bar_of
from edgeinfer.errors import BadModelFile, DiskError, InvalidRequest, NetworkError, NotEnoughMemory, Offline
from edgeinfer.text.safe import safe_text

if TYPE_CHECKING:
    from pathlib import Path

    from edgeinfer.hub.pull import Plan


@click.command("pull", short_help="Fetch models by name.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--dry-run", is_flag=True, help="Tell what would be fetched, and fetch nothing.")
@click.option("-y", "--yes", is_flag=True, help="Fetch also what does not fit into this machine.")
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

    for name in names:
        try:
            plan = plan_pull(name)
        except Offline:
            if not _tell_here(name, as_json):
                raise
            continue
        _tell_of_architecture(plan)
        if plan.here_bytes() == 0:  # what was begun was agreed to
            _tell_whether_it_fits(plan, ask=not (yes or dry_run))
        if dry_run:
            _tell(plan, as_json, {})
            continue
        path = str(_pull(plan))
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


def _tell_of_architecture(plan: Plan) -> None:
    """Before anything is fetched."""
    from edgeinfer.models import FAMILIES

    if plan.architecture not in (None, *FAMILIES):
        kind = safe_text(f"{plan.name} is a {plan.architecture} model")
        output.talk(f"note: {kind}, which edgeinfer does not run yet")


def _tell_whether_it_fits(plan: Plan, *, ask: bool) -> None:
    """Before gigabytes come; if asked to, only with a word of the person who waits.

    Raises:
        NotEnoughMemory: it does not fit, and nobody is there to ask.
    """
    from edgeinfer.bench.speed import stored_speed
    from edgeinfer.hub.fit import fit_plan, usual_use

    try:
        fit = fit_plan(plan, usual_use())
    except (BadModelFile, NetworkError, DiskError, InvalidRequest):  # the pull itself will tell
        return
    line = safe_text(f"{plan.name} {fit.summary(stored_speed())}")
    if fit.verdict != "does not fit" or not ask:
        output.talk(line)
    elif not output.is_terminal(sys.stdin):
        raise NotEnoughMemory(line, hint=f"{fit.advice}; --yes fetches it all the same")
    else:
        click.confirm(f"{line}\n{safe_text(fit.advice)}\nfetch it all the same?", abort=True, err=True)


def _pull(plan: Plan) -> Path:
    """Fetch it, with a bar for people."""
    from edgeinfer.hub.pull import pull

    with bar_of(plan.name, plan.size_bytes, plan.here_bytes()) as report:
        return pull(plan, report=report)


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
