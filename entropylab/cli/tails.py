"""``entropylab tails``: how heavy and how concentrated the token covariance is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .outcomes import analyse, finish
from .output import number, progress_bar
from .sources import Json, Paths, Steps, load_runs, steps_of

if TYPE_CHECKING:
    from entropylab.analysis.tails import TailReport
    from entropylab.record.reader import Run

COLUMNS = ("tokens", "top .2 %", "top 2 %", "top 20 %", "all", "top 2 % share")
TITLE = "Mean covariance (nats x advantage) of the top tokens, share of the top 2 % in the positive mass"
EXAMPLES = (
    "entropylab tails sample_logs/start-a/baseline-s0",
    "entropylab tails sample_logs/start-a/baseline-s0 --steps 0-19 --json",
)


def command(paths: Paths, steps: Steps = None, json: Json = False) -> None:
    """Say how heavy the tail of the covariance is, beside what independence would give."""
    outcomes = analyse(load_runs(paths), partial(_analysis, steps))
    finish("tails", outcomes, json=json, title=TITLE, columns=COLUMNS, row=_row)


def _analysis(steps: str | None, run: Run) -> TailReport:
    from entropylab.analysis.tail_data import analyze_run

    with progress_bar(run.name) as progress:
        return analyze_run(run, steps=steps_of(run, steps), progress=progress)


def _row(report: TailReport) -> list[str]:
    tops = report.top_means
    return [
        f"{report.n:,}",
        *(number(tops.get(fraction)) for fraction in (0.002, 0.02, 0.2)),
        number(report.mean, 4),
        number(report.top_share_positive.get(0.02), 2),
    ]
