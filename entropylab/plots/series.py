"""Quantities over steps as lines to draw: one a method, over its seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from entropylab.analysis.trajectories import evaluation_series, over_seeds, smoothed, step_series
from entropylab.errors import UnknownNameError

from .style import Style, method_label, run_style

if TYPE_CHECKING:
    import pandas as pd

    from entropylab.record.reader import Run

SMOOTHED_SHARE = 1 / 20
"""Share of the steps that the running mean over the raw values spans."""


@dataclass(frozen=True)
class Line:
    """One line of a chart: frame (step, value, low, high, ...) over ``seeds`` runs of one method.

    ``raw``: the values before smoothing, None where nothing was smoothed.
    """

    key: str
    label: str
    style: Style
    frame: pd.DataFrame
    seeds: int
    raw: pd.DataFrame | None = None


def group_key(run: Run) -> str:
    """What a run is grouped under: its method, or its own name where that is unknown."""
    return run.name if run.method in ("", "unknown") else run.method


def by_method(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs grouped by method in the order of first appearance."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(group_key(run), []).append(run)
    return groups


def step_lines(runs: Sequence[Run], column: str, *, share: float = SMOOTHED_SHARE) -> list[Line]:
    """Lines of a summary column, smoothed over a share of the steps; methods that lack it are left out."""
    return _lines(runs, lambda run: step_series(run.steps(), column), share)


def evaluation_lines(runs: Sequence[Run], metric: str, *, split: str = "validation") -> list[Line]:
    """Lines of an evaluation metric as it is; methods that lack it are left out."""
    return _lines(runs, lambda run: evaluation_series(run.evaluations(), run.steps(), metric, split=split), 0)


def _lines(runs: Sequence[Run], read: Callable[[Run], pd.DataFrame], share: float) -> list[Line]:
    found = []
    for key, members in by_method(runs).items():
        series = [one for one in (_read(read, run) for run in members) if one is not None]
        gathered = over_seeds(series) if series else None
        if gathered is None or gathered.empty:
            continue
        window = max(1, round(share * len(gathered)))
        shown = over_seeds([smoothed(one, window) for one in series])
        raw = gathered if window > 1 else None
        found.append(Line(key, method_label(key), run_style(key, key), shown, len(series), raw))
    return found


def _read(read: Callable[[Run], pd.DataFrame], run: Run) -> pd.DataFrame | None:
    """The run's series, or None where it has no value of it at all."""
    try:
        series = read(run)
    except UnknownNameError:
        return None
    return None if series["value"].isna().all() else series
