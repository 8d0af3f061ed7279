"""``entropylab report``: one self-contained HTML file about one or more runs."""

from __future__ import annotations

from typing import Annotated

import typer

from entropylab.plots.labels import run_labels

from .outcomes import problems
from .output import FINDINGS, OK, print_json, say
from .sources import Json, Paths, load_runs


def command(
    paths: Paths,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="HTML file to write.")
    ] = "report.html",
    json: Json = False,
) -> None:
    """Write one HTML file: summary, figures with captions, methods, settings and data problems."""
    from entropylab.report.build import build_report

    runs = load_runs(paths)
    written = build_report(runs, output)
    labels = run_labels(runs)
    rows = [{"run": labels[str(run.path)], "problems": problems(run)} for run in runs]
    found = sum(len(row["problems"]) for row in rows)
    if json:
        print_json("report", rows, report=str(written))
    else:
        say(f"Report on {len(runs)} run{'s' * (len(runs) != 1)}: {written}")
        if found:
            say(f"{found} data problems, listed in the report's last section.")
    raise typer.Exit(FINDINGS if found else OK)
