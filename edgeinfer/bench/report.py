"""Reports as Markdown tables, which read well in a terminal too."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from edgeinfer.bench.beside import BesideReport
from edgeinfer.bench.chat import ChatReport, percentile
from edgeinfer.bench.http import HttpReport
from edgeinfer.bench.kernels import KernelFigures
from edgeinfer.bench.limits import Limits
from edgeinfer.bench.model import ModelReport, ProfileRow, Row
from edgeinfer.bench.streams import StreamReport


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Aligned columns, the first to the left and the others to the right."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    padded = [
        [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        for line in (lines[0], rule, *lines[1:])
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in padded)


def of_model(report: ModelReport) -> str:
    """Figures, then the profile if there is one."""
    compared = report.peer is not None
    heads = ["measure", "threads", "tokens/s (least-most)", "ms/step"]
    heads += ["peer (least-most)", "ratio"] if compared else []
    table = markdown_table([*heads, "of the limit"], (_cells(row, compared) for row in report.rows))
    beside = f" beside {report.peer}" if compared else ""
    title = f"{report.model}, {report.target}{beside}, medians of {report.repetitions}"
    parts = [title, table, f"The machine: {report.disturbance}."]
    if report.profile:
        parts.append(_of_profile(report.profile))
    return "\n\n".join(parts)


def _cells(row: Row, compared: bool) -> list[str]:
    cells = [
        row.measure.name,
        str(row.threads),
        str(row.ours),
        f"{1e3 * row.measure.n / row.ours.median:.2f}",
    ]
    if compared:
        cells += [str(row.peer or "-"), "-" if row.ratio is None else f"{row.ratio:.2f}"]
    return [*cells, f"{row.limit_percent:.0f} % {row.limit_name.replace('_', ' ')}"]


def _of_profile(rows: list[ProfileRow]) -> str:
    totals: dict[tuple[str, int], float] = {}
    for row in rows:
        key = (row.measure.name, row.threads)
        totals[key] = totals.get(key, 0.0) + row.seconds
    return markdown_table(
        ["operation", "layer", "measure", "threads", "ms/step", "share"],
        (
            [
                row.operation,
                "" if row.layer is None else str(row.layer),
                row.measure.name,
                str(row.threads),
                f"{1e3 * row.seconds:.3f}",
                f"{100 * row.seconds / totals[row.measure.name, row.threads]:.0f} %",
            ]
            for row in rows
        ),
    )


def of_streams(report: StreamReport) -> str:
    """One line for each load."""
    compared = report.peer is not None
    heads = ["streams", "prompt", "answer", "tokens/s", "first token s"]
    heads += ["peer tokens/s", "peer first token s", "ratio"] if compared else []
    rows = []
    for row in report.rows:
        load = row.load
        cells = [str(load.n_streams), str(load.n_prompt), str(load.n_answer)]
        for outcomes in (row.ours, row.peer) if compared else (row.ours,):
            first = row.first_token(outcomes)
            cells += [f"{row.rate(outcomes):.1f}", "-" if first is None else f"{first:.2f}"]
        rows.append(cells if row.ratio is None else [*cells, f"{row.ratio:.2f}"])
    beside = f" beside {report.peer}" if compared else ""
    title = f"{report.model}, {report.ours}{beside}, medians"
    return "\n\n".join([title, markdown_table(heads, rows), f"The machine: {report.disturbance}."])


def of_beside(report: BesideReport) -> str:
    """One line for each repetition."""
    heads = ["prompt", "ms/token alone: median", "p99", "beside it: median", "p99", "p99 ratio"]
    heads += ["prompt alone s", "beside s", "ratio"]
    rows = [
        [
            str(r.n_prompt),
            *(f"{ms:.1f}" for ms in (r.lone_p50, r.lone_p99, r.beside_p50, r.beside_p99)),
            f"{r.stretch:.2f}",
            f"{r.prompt_alone_s:.2f}",
            f"{r.prompt_beside_s:.2f}",
            f"{r.slowdown:.2f}",
        ]
        for r in report.rows
    ]
    table = markdown_table(heads, rows)
    return "\n\n".join([f"{report.model}, {report.ours}", table, f"The machine: {report.disturbance}."])


def of_http(report: HttpReport) -> str:
    """One line."""
    times = (report.in_process, report.over_http)
    per_token = [f"{1e3 * statistics.median(rounds) / report.n_answer:.2f}" for rounds in times]
    heads = ["streams", "tokens each", "ms/token in the process", "over HTTP", "added"]
    row = [str(report.n_streams), str(report.n_answer), *per_token, f"{report.added_ms:.2f}"]
    return "\n\n".join([report.model, markdown_table(heads, [row]), f"The machine: {report.disturbance}."])


def of_chat(report: ChatReport) -> str:
    """A line for each state of the chat, and how soon it starts."""
    rows = [
        [state, *(f"{1e3 * percentile(times, percent):.1f}" for percent in (50, 90, 99, 100))]
        for state, times in (("idle", report.idle), ("answering", report.answering))
    ]
    table = markdown_table(["a key is drawn after ms", "median", "p90", "p99", "most"], rows)
    start = (
        f"A key is drawn {statistics.median(report.starts):.2f} s after the start of the process (median)."
    )
    return "\n\n".join([report.model, table, start, f"The machine: {report.disturbance}."])


def of_limits(limits: list[Limits]) -> str:
    """One line for each number of threads."""
    return markdown_table(
        ["threads", "read GB/s", "float GFLOPS", "int8 GOPS", "barrier us"],
        (
            [
                str(x.threads),
                f"{x.read_gb_s:.1f}",
                f"{x.float_gflops:.0f}",
                f"{x.int8_gops:.0f}",
                f"{x.barrier_us:.2f}",
            ]
            for x in limits
        ),
    )


def of_kernels(figures: list[KernelFigures]) -> str:
    """One line for each kernel."""
    return markdown_table(
        ["target", "type", "form", "columns", "ns/256 weights", "GB/s", "GOPS"],
        (
            [
                f.target,
                f.type,
                f.form,
                str(f.columns),
                f"{f.ns_per_256:.2f}",
                f"{f.gb_s:.1f}",
                f"{f.gops:.0f}",
            ]
            for f in figures
        ),
    )
