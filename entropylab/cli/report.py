"""``entropylab report``: one HTML file, or Markdown with figures, about one or more runs."""

from __future__ import annotations

from typing import Annotated

import typer

from entropylab.plots.labels import run_labels
from entropylab.report.formats import Format

from .outcomes import problems, tell_problems
from .output import FINDINGS, OK, print_json, say
from .sources import Json, Paths, load_runs

EXAMPLES = (
    "entropylab report sample_logs/start-a -o report.html",
    "entropylab report sample_logs/rare-x -o rare-x.md",
)


def command(
    paths: Paths,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="File to write; default: report.html or report.md."
        ),
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Default: by FILE's ending. With md the figures are SVG files beside it."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write one HTML file, or Markdown: summary, figures, methods, settings and data problems."""
    from entropylab.report.build import check_place, write_report
    from entropylab.report.findings import gather

    target = output or f"report.{form or Format.HTML}"
    check_place(target)
    findings = gather(load_runs(paths))
    runs = findings.runs
    written = write_report(findings, target, form)
    labels = run_labels(runs)
    damage = {labels[str(run.path)]: problems(run) for run in runs}
    missing = [f"{one.label}: {one.missing}" for one in findings.all() if one.missing]
    if json:
        rows = [{"run": name, "problems": found} for name, found in damage.items()]
        print_json("report", rows, report=str(written), missing=missing)
    else:
        say(f"Report on {len(runs)} run{'s' * (len(runs) != 1)}: {written}")
        for line in dict.fromkeys(missing):
            say(f"Not in the report: {line}")
        for found in damage.values():
            tell_problems(found)
    complete = not missing and not any(damage.values())
    raise typer.Exit(OK if complete else FINDINGS)
