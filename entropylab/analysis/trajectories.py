"""Quantities over a run's steps, smoothed, and gathered over the seeds of a method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import InvalidInputError, UnknownNameError


def step_series(steps: pd.DataFrame, column: str) -> pd.DataFrame:
    """One summary column over the steps: frame of step, tokens, hours, value, sorted by step.

    tokens: those trained on before the step; hours since the first step was recorded, NaN where the log does
    not tell. Non-finite values are NaN.
    """
    if column not in steps:
        raise UnknownNameError(
            f"steps have no column {column!r}: there is {', '.join(map(str, steps.columns))}"
        )
    ordered = steps.sort_values("step")
    value = pd.to_numeric(ordered[column], errors="coerce").astype(float)
    before = _tokens_before(ordered)
    return pd.DataFrame(
        {
            "step": ordered["step"].to_numpy(),
            "tokens": before,
            "hours": _hours(ordered),
            "value": value.where(np.isfinite(value)).to_numpy(),
        }
    )


def evaluation_series(
    evaluations: pd.DataFrame, steps: pd.DataFrame, metric: str, *, split: str = "validation"
) -> pd.DataFrame:
    """One evaluation metric over the steps: frame of step, tokens, hours, value, n, sorted by step.

    tokens: those trained on before it (an evaluation at step s is of the policy before step s is trained on).
    """
    chosen = evaluations[(evaluations["split"] == split) & (evaluations["metric"] == metric)]
    if chosen.empty:
        raise UnknownNameError(f"no evaluation of {metric!r} on split {split!r}")
    chosen = chosen.sort_values("step")
    ordered = steps.sort_values("step")
    place = np.searchsorted(ordered["step"].to_numpy(), chosen["step"].to_numpy(), side="left")
    total = np.concatenate([[0.0], np.cumsum(ordered["n_tokens"].to_numpy(dtype=float))])
    value = chosen["value"].astype(float)
    return pd.DataFrame(
        {
            "step": chosen["step"].to_numpy(),
            "tokens": total[place],
            "hours": np.append(_hours(ordered), np.nan)[place],
            "value": value.where(np.isfinite(value)).to_numpy(),
            "n": chosen["n"].to_numpy(),
        }
    )


def smoothed(series: pd.DataFrame, window: int) -> pd.DataFrame:
    """The series with `value` as the mean of the rows less than window/2 steps away, NaN left out.

    window 1 (step) leaves distinct steps as they are. A NaN row stays NaN.
    """
    if window < 1:
        raise InvalidInputError(f"window is {window}: give at least 1 step")
    step = series["step"].to_numpy(dtype=float)
    value = series["value"].to_numpy(dtype=float)
    known = np.isfinite(value)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, value, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    first = np.searchsorted(step, step - window / 2, side="right")
    last = np.searchsorted(step, step + window / 2, side="left")
    mean = (total[last] - total[first]) / np.maximum(count[last] - count[first], 1)
    return series.assign(value=np.where(known, mean, np.nan))


def over_seeds(series: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The runs of one method together: frame of step, tokens, hours, value, low, high, n_runs, a row a step.

    value is the mean over the runs, tokens and hours too, low and high the lowest and the highest run: the
    spread that was seen, no interval. Only steps that every run has, so that the mean does not jump where
    one ends.
    """
    if not series:
        raise InvalidInputError("no series to gather: give at least one run")
    table = pd.concat(series).dropna(subset=["value"])
    step, place = np.unique(table["step"], return_inverse=True)
    n, value = np.bincount(place), table["value"].to_numpy()
    low, high = np.full(len(step), np.inf), np.full(len(step), -np.inf)
    np.minimum.at(low, place, value)
    np.maximum.at(high, place, value)
    means = {
        name: np.bincount(place, table[name]) / n for name in ("tokens", "hours", "value") if name in table
    }
    gathered = pd.DataFrame({"step": step, **means, "low": low, "high": high, "n_runs": n})
    return gathered[n == len(series)].reset_index(drop=True)


def _tokens_before(ordered: pd.DataFrame) -> np.ndarray:
    tokens = ordered["n_tokens"].to_numpy(dtype=float)
    return np.cumsum(tokens) - tokens


def _hours(ordered: pd.DataFrame) -> np.ndarray:
    if "recorded_at" not in ordered or ordered.empty:
        return np.full(len(ordered), np.nan)
    at = ordered["recorded_at"]
    return ((at - at.min()).dt.total_seconds() / 3600).to_numpy(dtype=float)
