"""``entropylab replay``: what another control would have selected."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from .engine_options import Address, EngineName, Memory, Workers, chosen_engine
from .outcomes import analyse, finish
from .output import number
from .sources import Json, Paths, Steps, load_runs, steps_of

if TYPE_CHECKING:
    from entropylab.analysis.replay_report import Replay
    from entropylab.engine.tasks import Engine
    from entropylab.record.reader import Run

COLUMNS = ("tokens", "chosen", "fraction", "mass", "selected", "overlap")
Method = Annotated[str, typer.Option("--method", help="A key of METHODS, such as clip_cov or kl_cov_7b.")]
EXAMPLES = ("entropylab replay sample_logs/start-a/clip_cov-s0 --method kl_cov_7b",)


def command(
    paths: Paths,
    method: Method,
    steps: Steps = None,
    engine: EngineName = "local",
    workers: Workers = None,
    memory: Memory = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """Apply the control of a method to logged tokens: what it would choose, and in micro-batches."""
    chosen = chosen_engine(engine, workers, memory, address)
    outcomes = analyse(load_runs(paths), partial(_analysis, method, steps, chosen))
    title = f"What {method} would select, and its overlap with what was"
    finish("replay", outcomes, json=json, title=title, columns=COLUMNS, row=_row, method=method)


def _analysis(method: str, steps: str | None, engine: Engine, run: Run) -> Replay:
    from entropylab.analysis.replay_report import replay

    return replay(run, method, steps=steps_of(run, steps), engine=engine)


def _row(result: Replay) -> list[str]:
    counts = [f"{n:,}" for n in (result.n_tokens, result.n_chosen)]
    shares = [number(value, 3) for value in (result.fraction, result.mass_removed)]
    return [*counts, *shares, f"{result.n_selected:,}", number(result.overlap, 3)]
