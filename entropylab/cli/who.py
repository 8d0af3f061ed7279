"""``entropylab who``: which tokens make the tail and which a control selected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .outcomes import analyse, finish
from .output import number
from .sources import Json, Paths, Steps, load_runs, steps_of

if TYPE_CHECKING:
    from entropylab.analysis.attribution import Attribution
    from entropylab.record.reader import Run

COLUMNS = ("tokens", "selected", "rare-: all", "top 2 %", "selected")
TITLE = "Share of rare tokens with below-average advantage (rare-) in each set of tokens"
QUADRANT = "low_below"


def command(paths: Paths, steps: Steps = None, json: Json = False) -> None:
    """Say who carries the covariance: quadrants, positions and token strings."""

    def analysis(run: Run) -> Attribution:
        from entropylab.analysis.attribution import attribute

        return attribute(run, steps=steps_of(run, steps))

    finish("who", analyse(load_runs(paths), analysis), json=json, title=TITLE, columns=COLUMNS, row=_row)


def _row(result: Attribution) -> list[str]:
    table = result.quadrants
    rare = table[table["quadrant"] == QUADRANT].set_index("set")["share"]
    shares = [rare.get(name) for name in ("all", "top 2 %", "selected")]
    return [f"{result.n:,}", f"{result.n_selected:,}", *(number(share, 2) for share in shares)]
