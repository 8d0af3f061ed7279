"""``entropylab tails``: how heavy and how concentrated the token covariance is."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .engine_options import Address, EngineName, Memory, Scan, Workers, chosen_engine
from .outcomes import analyse, finish
from .output import number, progress_bar
from .sources import Json, Paths, Steps, load_runs, steps_of

if TYPE_CHECKING:
    from entropylab.analysis.tails import TailReport
    from entropylab.engine.tail_scan import TailScan
    from entropylab.engine.tasks import Engine
    from entropylab.record.reader import Run

COLUMNS = ("tokens", "top .2 %", "top 2 %", "top 20 %", "all", "top 2 % share")
TITLE = "Mean covariance (nats x advantage) of the top tokens, share of the top 2 % in the positive mass"
SCAN_COLUMNS = ("steps", "tokens", "50 %", "90 %", "99 %", "99.9 %", "99.99 %")
SCAN_TITLE = "Exact quantiles of the covariance (nats x advantage) over every token of the stored steps"
EXAMPLES = (
    "entropylab tails sample_logs/start-a/baseline-s0",
    "entropylab tails sample_logs/start-a --scan",
)


def command(
    paths: Paths,
    steps: Steps = None,
    scan: Scan = False,
    engine: EngineName = "local",
    workers: Workers = None,
    memory: Memory = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Say how heavy the tail of the covariance is, beside what independence would give."""
    runs = load_runs(paths)
    if scan:
        chosen = chosen_engine(engine, workers, memory, address)
        finish(
            "tails",
            analyse(runs, partial(_scan, chosen, steps)),
            json=json,
            title=SCAN_TITLE,
            columns=SCAN_COLUMNS,
            row=_scan_row,
        )
    outcomes = analyse(runs, partial(_analysis, steps))
    finish("tails", outcomes, json=json, title=TITLE, columns=COLUMNS, row=_row)


def _scan(engine: Engine, steps: str | None, run: Run) -> TailScan:
    from entropylab.engine.tail_scan import scan_tails

    with progress_bar(run.name) as progress:
        return scan_tails(run, steps=steps_of(run, steps), engine=engine, progress=progress)


def _scan_row(result: TailScan) -> list[str]:
    values = result.quantiles["value"].tolist()
    return [f"{len(result.steps):,}", f"{result.n:,}", *(number(value) for value in values)]


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
