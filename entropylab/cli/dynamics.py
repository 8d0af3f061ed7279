"""``entropylab dynamics``: does the covariance predict what the entropy does?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .outcomes import analyse, finish
from .output import number
from .sources import Json, Paths, load_runs

if TYPE_CHECKING:
    from entropylab.analysis.dynamics import Dynamics
    from entropylab.record.reader import Run

COLUMNS = ("steps", "slope", "low", "high", "r", "r, windows of 10")
TITLE = "Drop of the entropy in a step, nats a unit of Cov(log π, A)"
EXAMPLES = ("entropylab dynamics sample_logs/start-a/baseline-s0",)


def command(paths: Paths, json: Json = False) -> None:
    """Predicted against observed change of the entropy, on the same states where they were recorded."""
    finish(
        "dynamics", analyse(load_runs(paths), _analysis), json=json, title=TITLE, columns=COLUMNS, row=_row
    )


def _analysis(run: Run) -> Dynamics:
    from entropylab.analysis.dynamics import entropy_dynamics

    return entropy_dynamics(run)


def _row(result: Dynamics) -> list[str]:
    observed = "same_states" if np.isfinite(result.series["same_states"]).any() else "between"
    fit, wide = result.fit(observed), result.fit(observed, window=10)
    shown = [fit["slope"], fit["low"], fit["high"], fit["r"], wide["r"]]
    return [f"{result.n_steps:,}", *(number(value, 3) for value in shown)]
