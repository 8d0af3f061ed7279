"""Values over steps, one line a method: the mean over its seeds and their range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from .style import Style, method_label, run_style

if TYPE_CHECKING:
    from entropylab.record.reader import Run

SMOOTHING = 9
"""Steps of the centred running mean that is drawn over the raw values."""


@dataclass(frozen=True)
class Line:
    """One line of a chart: frame (mean, low, high) by step over ``seeds`` runs of one method."""

    key: str
    label: str
    style: Style
    frame: pd.DataFrame
    seeds: int


def step_values(run: Run, column: str) -> pd.Series:
    """A summary column by step, without the steps that lack it; empty where the run has no such column."""
    frame = run.steps()
    if column not in frame.columns or frame.empty:
        return pd.Series(dtype="float64")
    return frame.set_index("step")[column].astype("float64").dropna()


def evaluation_values(run: Run, metric: str, *, split: str = "validation") -> pd.Series:
    """An evaluation metric by step; empty where the run has none."""
    frame = run.evaluations()
    if frame.empty:
        return pd.Series(dtype="float64")
    chosen = frame[(frame["metric"] == metric) & (frame["split"] == split)]
    return chosen.groupby("step")["value"].last().astype("float64").dropna()


def group_key(run: Run) -> str:
    """What a run is grouped under: its method, or its own name where that is unknown."""
    return run.name if run.method in ("", "unknown") else run.method


def by_method(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs grouped by method in the order of first appearance."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(group_key(run), []).append(run)
    return groups


def lines(runs: Sequence[Run], values: dict[str, pd.Series]) -> list[Line]:
    """One line a method from ``values`` by run path; methods without values are left out."""
    found = []
    for key, members in by_method(runs).items():
        columns = [values[str(run.path)] for run in members if not values[str(run.path)].empty]
        if columns:
            found.append(Line(key, method_label(key), run_style(key, key), _spread(columns), len(columns)))
    return found


def _spread(columns: Sequence[pd.Series]) -> pd.DataFrame:
    """Mean, lowest and highest value at the steps that all seeds hold (at any step where they share none)."""
    table = pd.concat(columns, axis=1, join="inner")
    if table.empty:
        table = pd.concat(columns, axis=1, join="outer")
    table = table.sort_index()
    return pd.DataFrame({"mean": table.mean(axis=1), "low": table.min(axis=1), "high": table.max(axis=1)})


def smooth(values: pd.Series, window: int = SMOOTHING) -> pd.Series:
    """Centred running mean, shorter at both ends."""
    return values.rolling(min(window, max(1, len(values))), center=True, min_periods=1).mean()
