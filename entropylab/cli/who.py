"""``entropylab who``: which tokens make the tail and which a control selected."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .engine_options import Address, EngineName, Memory, Scan, Workers, chosen_engine
from .outcomes import analyse, finish
from .output import number, progress_bar
from .sources import Json, Paths, Steps, load_runs, steps_of

if TYPE_CHECKING:
    from entropylab.analysis.attribution import Attribution
    from entropylab.engine.attribution_scan import AttributionScan
    from entropylab.engine.tasks import Engine
    from entropylab.record.reader import Run

COLUMNS = ("tokens", "selected", "of all", "of the top 2 %", "of the selected")
TITLE = "Share of rare tokens with below-average advantage: of all, the top 2 %, the selected"
QUADRANT = "low_below"
EXAMPLES = (
    "entropylab who sample_logs/start-a/clip_cov-s0",
    "entropylab who sample_logs/start-a --scan",
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
    """Say who carries the covariance: quadrants, positions and token strings."""
    analysis = partial(_scan, chosen_engine(engine, workers, memory, address)) if scan else _analysis
    outcomes = analyse(load_runs(paths), partial(analysis, steps))
    finish("who", outcomes, json=json, title=TITLE, columns=COLUMNS, row=_row)


def _scan(engine: Engine, steps: str | None, run: Run) -> AttributionScan:
    from entropylab.engine.attribution_scan import scan_attribution

    with progress_bar(run.name) as progress:
        return scan_attribution(run, steps=steps_of(run, steps), engine=engine, progress=progress)


def _analysis(steps: str | None, run: Run) -> Attribution:
    from entropylab.analysis.attribution import attribute

    return attribute(run, steps=steps_of(run, steps))


def _row(result: Attribution) -> list[str]:
    table = result.quadrants
    rare = table[table["quadrant"] == QUADRANT].set_index("set")["share"]
    shares = [rare.get(name) for name in ("all", "top 2 %", "selected")]
    return [f"{result.n:,}", f"{result.n_selected:,}", *(number(share, 2) for share in shares)]
