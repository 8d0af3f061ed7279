"""``entropylab import``: the dumps of a trainer as a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entropylab.errors import MissingInputError
from entropylab.importers.formats import FORMATS

from .output import FINDINGS, OK, print_json, say, show_table
from .sources import Json

if TYPE_CHECKING:
    from entropylab.importers.importing import ImportReport

SHOWN = 5
"""Broken records that are printed; ``--json`` and import.json hold more."""

EXAMPLES = (
    "entropylab import verl dumps/rollouts runs/imported --method baseline",
    "entropylab import trl completions runs/trl --metrics trainer_state.json",
)


def command(
    format_name: Annotated[str, typer.Argument(metavar="FORMAT", help=f"One of {', '.join(FORMATS)}.")],
    source: Annotated[str, typer.Argument(metavar="SRC", help="The dump, or a folder above it.")],
    destination: Annotated[str, typer.Argument(metavar="DEST", help="The new run folder.")],
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first broken record.")] = False,
    method: Annotated[str | None, typer.Option(help="Label of the method, as clip_cov.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Step-level log of the same run: metrics and evaluations.")
    ] = None,
    performance: Annotated[
        str | None, typer.Option(help="Column of the evaluations in that log; default: known names.")
    ] = None,
    n_problems: Annotated[int | None, typer.Option(min=1, help="Problems behind each evaluation.")] = None,
    json: Json = False,
) -> None:
    """Import what a trainer already dumps as a run, for every other command."""
    from entropylab.importers.importing import import_run
    from entropylab.importers.step_metrics import step_metrics

    beside = None
    if metrics is not None:
        beside = step_metrics(metrics, performance=performance, n_problems=n_problems)
    elif performance is not None or n_problems is not None:
        raise MissingInputError("--performance and --n-problems are of a log: name it with --metrics FILE")
    report = import_run(format_name, source, destination, strict=strict, method=method, metrics=beside)
    if json:
        print_json("import", [{"run": Path(destination).name, **report.to_dict()}])
    else:
        _show(report)
    raise typer.Exit(FINDINGS if report.n_faults else OK)


def _show(report: ImportReport) -> None:
    counts = (report.steps, report.responses, report.tokens, report.evaluations, report.n_faults)
    columns = ["run", "steps", "responses", "tokens", "evaluations", "broken"]
    show_table(f"Imported from {report.format}", columns, [[report.path.name, *(f"{n:,}" for n in counts)]])
    for text in report.faults[:SHOWN]:
        say(f"Broken, left out: {text}")
    if report.n_faults > SHOWN:
        say(f"... and {report.n_faults - SHOWN} more: see import.json in the run")
    for name, note in report.notes.items():
        say(f"{name.replace('_', ' ')}: {', '.join(map(str, note)) if isinstance(note, list) else note}")
    if report.missing:
        say(f"Not in the source, so null in the run: {', '.join(report.missing)}")
