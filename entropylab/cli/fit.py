"""``entropylab fit``: the entropy-performance law of runs or of a metrics file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .metrics_file import is_metrics_file, read_points
from .outcomes import Outcome, analyse, attempt, finish
from .output import interval, number
from .sources import Json, load_runs

if TYPE_CHECKING:
    import pandas as pd

    from entropylab.analysis.curve import CurveFit
    from entropylab.record.reader import Run

COLUMNS = ("points", "a", "b", "ceiling", "interval", "R2")


def command(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Run folders, folders above runs, or CSV/JSONL files."),
    ],
    entropy: Annotated[
        str | None, typer.Option(help="Column of the entropy (nats); in a run: entropy_token_mean.")
    ] = None,
    performance: Annotated[
        str | None, typer.Option(help="Column or, in a run, metric of the performance; in a run: accuracy.")
    ] = None,
    step: Annotated[str | None, typer.Option(help="Column of the step in a metrics file.")] = None,
    split: Annotated[str, typer.Option(help="Evaluation split of a run.")] = "validation",
    n_problems: Annotated[
        int | None, typer.Option(min=1, help="Problems behind each accuracy of a file.")
    ] = None,
    method: Annotated[str, typer.Option(help="auto, grid, ols, gls or huber.")] = "auto",
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    json: Json = False,
) -> None:
    """Fit R = -a exp(H) + b and say which ceiling it implies, with its uncertainty."""
    fit_points = partial(_fit_points, n_problems=n_problems, method=method, level=level)
    fit_run = partial(
        _fit_run,
        entropy=entropy or "entropy_token_mean",
        metric=performance or "accuracy",
        split=split,
        method=method,
        level=level,
    )
    files = {path: read_points(path, entropy, performance, step) for path in paths if is_metrics_file(path)}
    outcomes = [attempt(Path(path).name, partial(fit_points, points)) for path, points in files.items()]
    outcomes += analyse(load_runs([path for path in paths if path not in files]), fit_run)
    found = [_with_findings(outcome) for outcome in outcomes]
    finish("fit", found, json=json, title=_title(level), columns=COLUMNS, row=_row)


def _fit_run(run: Run, **settings: Any) -> CurveFit:
    from entropylab.analysis.curve_data import fit_run

    return fit_run(run, **settings)


def _fit_points(points: pd.DataFrame, **settings: Any) -> CurveFit:
    from entropylab.analysis.curve import fit_curve

    return fit_curve(points["entropy"], points["performance"], steps=points.get("step"), **settings)


def _with_findings(outcome: Outcome) -> Outcome:
    """A withheld interval is a finding: exit code 1."""
    withheld = getattr(outcome.result, "withheld", None)
    return replace(outcome, findings=(withheld,)) if withheld else outcome


def _title(level: float) -> str:
    return f"R = -a exp(H) + b, ceiling b - a at H = 0, interval {100 * level:g} %, if the law holds"


def _row(fit: CurveFit) -> list[str]:
    return [
        str(fit.n_points),
        number(fit.a),
        number(fit.b),
        number(fit.ceiling),
        interval(fit.intervals.get("ceiling")),
        number(fit.r2, 2),
    ]
