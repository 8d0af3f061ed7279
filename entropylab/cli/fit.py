"""``entropylab fit``: the entropy-performance law of runs or of a metrics file."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from entropylab.errors import InsufficientDataError, InvalidInputError

from .metrics_file import fit_log, is_metrics_file, read_points, used_columns
from .outcomes import Outcome, analyse, finish
from .output import interval, number, say
from .sources import Json, load_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from entropylab.analysis.curve import CurveFit
    from entropylab.analysis.curve_runs import CurvePool
    from entropylab.record.reader import Run

COLUMNS = ("points", "a", "b", "ceiling", "interval", "R2")
EXAMPLES = (
    "entropylab fit sample_logs/start-a/baseline-s0",
    "entropylab fit log.csv --entropy actor/entropy --performance val/acc",
)


def command(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Run folders, folders above runs, or logs: CSV, JSON(L), Parquet, TensorBoard, trackio.",
        ),
    ],
    entropy: Annotated[
        str | None, typer.Option(help="Column of the entropy (nats); in a run: entropy_token_mean.")
    ] = None,
    performance: Annotated[
        str | None,
        typer.Option(
            help="Column or, in a run, metric of the performance; in a run: accuracy, or what was evaluated."
        ),
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
    settings: dict[str, Any] = {"method": method, "level": level}
    fit_run = partial(
        _fit_run,
        entropy=entropy or "entropy_token_mean",
        metric=performance,
        split=split,
        **settings,
    )
    logs = {path: read_points(path, entropy, performance, step) for path in paths if is_metrics_file(path)}
    named = [(path, name, rows) for path, runs in logs.items() for name, rows in runs.items()]
    outcomes = [fit_log(*log, n_problems=n_problems, **settings) for log in named]
    runs = load_runs([path for path in paths if path not in logs])
    outcomes += analyse(runs, fit_run, rows=False)
    found = [_with_findings(outcome) for outcome in outcomes]
    used = [used_columns(*log) for log in named]
    if not json:
        _tell_columns(used)
    pools = _pools(runs, found[len(named) :], level)
    more: dict[str, Any] = {"logs": used} if used else {}
    more |= {"pooled": {name: pool.to_dict() for name, pool in pools.items()}} if pools else {}
    if not json:
        for name, pool in pools.items():
            say(f"{name}, {pool.n_runs} of {pool.n_given} runs together", style="bold")
            say(pool.summary())
            say()
    finish("fit", found, json=json, title=_title(level), columns=COLUMNS, row=_row, **more)


def _pools(runs: Sequence[Run], outcomes: Sequence[Outcome], level: float) -> dict[str, CurvePool]:
    """The law over the runs of each method and start on one noise law, where two or more have an interval."""
    groups: dict[str, list[CurveFit]] = {}
    for run, outcome in zip(runs, outcomes, strict=True):
        start = run.config.get("start")
        name = run.method if start is None else f"{run.method} from {start}"
        if outcome.result is not None:
            groups.setdefault(name, []).append(outcome.result)
    several = {name: _sharing(fits) for name, fits in groups.items() if len(fits) > 1}
    usable = {name: fits for name, fits in several.items() if sum(f.withheld is None for f in fits) > 1}
    if not usable:
        return {}
    from entropylab.analysis.curve_runs import pool_curves

    return {name: pool_curves(fits, level=level) for name, fits in usable.items()}


def _sharing(fits: list[CurveFit]) -> Sequence[CurveFit]:
    """The fits on one noise law, where they can share one; else as they are."""
    from entropylab.analysis.curve_shared import share_noise

    try:
        return share_noise(fits)
    except (InsufficientDataError, InvalidInputError):
        return fits


def _tell_columns(used: list[dict[str, Any]]) -> None:
    for log in used:
        by = f" (names of {log['names_of']})" if log["names_of"] else ""
        steps = f"by {log['step']}" if log["step"] else "row by row"
        say(f"{log['run']}: H = {log['entropy']}, R = {log['performance']}, {steps}{by}")


def _fit_run(run: Run, **settings: Any) -> CurveFit:
    from entropylab.analysis.curve_data import fit_run

    return fit_run(run, **settings)


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
