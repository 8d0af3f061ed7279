"""``entropylab summarize``: the exact summaries of runs, made over this machine's cores or a Ray cluster."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from .engine_options import Address, EngineName, Memory, Workers, chosen_engine
from .outcomes import Outcome, analyse, finish
from .output import progress_bar
from .sources import Json, Paths, load_runs

if TYPE_CHECKING:
    from entropylab.engine.run_summary import RunSummary
    from entropylab.engine.tasks import Engine
    from entropylab.record.reader import Run

COLUMNS = ("steps", "tokens", "read", "known", "recorded", "differing")
TITLE = "Steps by where their summaries come from, and values that are not those of the rows"
EXAMPLES = (
    "entropylab summarize runs/demo --recompute",
    "entropylab summarize s3://bucket/runs --engine ray --address auto",
)


def command(
    paths: Paths,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="From the token rows, beside what was recorded.")
    ] = False,
    engine: EngineName = "local",
    workers: Workers = None,
    memory: Memory = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Make and keep the summaries that need token rows, exact whatever the size of the run."""
    chosen = chosen_engine(engine, workers, memory, address)
    outcomes = analyse(load_runs(paths), partial(_summary, chosen, recompute), rows=recompute)
    told = [replace(outcome, findings=_findings(outcome)) for outcome in outcomes]
    finish("summarize", told, json=json, title=TITLE, columns=COLUMNS, row=_row)


def _summary(engine: Engine, recompute: bool, run: Run) -> RunSummary:
    from entropylab.engine.run_summary import summarize_run

    with progress_bar(run.name) as progress:
        return summarize_run(run, engine=engine, recompute=recompute, progress=progress)


def _findings(outcome: Outcome) -> tuple[str, ...]:
    if outcome.result is None:
        return ()
    differing = len(outcome.result.differences)
    return (*outcome.result.errors.values(), *([f"{differing} values differ"] if differing else []))


def _row(result: RunSummary) -> list[str]:
    counts = (result.computed, result.cached, result.recorded, len(result.differences))
    return [f"{n:,}" for n in (len(result.steps), result.n_tokens, *counts)]
