"""The figures of one run that a comparison sets side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..record.reader import Run
from .performance import is_entropy

EVALUATIONS = ("accuracy", "accuracy_greedy", "pass@8")
"""Metrics of the split "validation": at temperature 1, greedy, and any of 8 samples right."""

_LABELS = {
    "entropy": "entropy H (nats)",
    "accuracy": "accuracy, T = 1",
    "accuracy_greedy": "accuracy, greedy",
    "pass@8": "pass@8",
}


def label_of(metric: str) -> str:
    """What is compared, as a table or an axis names it; a metric that is not known by its own name."""
    return _LABELS.get(metric, metric)


def figure_names(metrics: Sequence[str] = EVALUATIONS) -> tuple[str, ...]:
    """The figures of a run with those evaluations.

    `_start` and `_end` of each and of the entropy (nats, mean over tokens); the share of tokens selected;
    the mean covariance over all tokens and steps.
    """
    pairs = (f"{name}_{when}" for name in (*metrics, "entropy") for when in ("start", "end"))
    return (*pairs, "selected_share", "covariance_mean")


METRICS = figure_names()
"""The figures of runs that are evaluated by `EVALUATIONS`."""

LAST_EVALUATIONS = 4
LAST_STEPS = 10


MOST_OTHERS = 3
"""Other metrics that are compared where none of `EVALUATIONS` was recorded."""


def compared_metrics(runs: Iterable[Run]) -> tuple[str, ...]:
    """`EVALUATIONS` where a run holds one of them, else the validation metrics that most runs hold.

    Of those, 3 at the most, entropies left out; `EVALUATIONS` too where there is none.
    """
    held = [name for run in runs for name in _validation(run)["metric"].unique()]
    counts = {name: held.count(name) for name in dict.fromkeys(held) if not is_entropy(name)}
    if not counts or not counts.keys().isdisjoint(EVALUATIONS):
        return EVALUATIONS
    return tuple(sorted(counts, key=lambda name: (-counts[name], name))[:MOST_OTHERS])


def run_figures(run: Run, metrics: Sequence[str] = EVALUATIONS) -> tuple[dict[str, Any], list[str]]:
    """One row of `Comparison.runs`, missing values as NaN, and the warnings about this run."""
    steps, evaluations = run.steps(), run.evaluations()
    row: dict[str, Any] = {
        "run": run.name,
        "method": run.method,
        "seed": run.config.get("seed"),
        "start": run.config.get("start"),
        "last_step": int(steps["step"].max()) if len(steps) else None,
    }
    for name in metrics:
        row |= _evaluation(evaluations, name)
    row |= _entropy(steps) | {"selected_share": _selected_share(steps), "covariance_mean": _covariance(steps)}
    return row, _warnings(run, row, metrics)


def problems_of(run: Run) -> float:
    """The fewest problems behind a validation accuracy; NaN where no number was recorded."""
    numbers = _validation(run)["n"].to_numpy(np.float64)
    known = numbers[numbers >= 1]
    return float(known.min()) if len(known) else float("nan")


def _validation(run: Run) -> pd.DataFrame:
    evaluations = run.evaluations()
    return evaluations[evaluations["split"] == "validation"]


def _evaluation(evaluations: pd.DataFrame, name: str) -> dict[str, float]:
    """The first value and the mean of the last 4 of a validation metric, the first not among them."""
    chosen = (evaluations["split"] == "validation") & (evaluations["metric"] == name)
    values = evaluations[chosen].sort_values("step")["value"].to_numpy(np.float64)
    if not len(values):
        return {f"{name}_start": np.nan, f"{name}_end": np.nan}
    return {f"{name}_start": float(values[0]), f"{name}_end": _end(values, LAST_EVALUATIONS)}


def _entropy(steps: pd.DataFrame) -> dict[str, float]:
    """Entropy (token mean) of the first step, and the mean of the last 10, the first not among them."""
    values = steps.sort_values("step")["entropy_token_mean"].to_numpy(np.float64)
    if not len(values):
        return {"entropy_start": np.nan, "entropy_end": np.nan}
    return {"entropy_start": float(values[0]), "entropy_end": _end(values, LAST_STEPS)}


def _end(values: np.ndarray, n: int) -> float:
    """The mean of the last n values without the first, which is the start; of a single value, itself."""
    return float(values[max(len(values) - n, min(1, len(values) - 1)) :].mean())


def _selected_share(steps: pd.DataFrame) -> float:
    tokens = float(steps["n_tokens"].sum())
    return float(steps["selected_count"].sum()) / tokens if tokens else np.nan


def _covariance(steps: pd.DataFrame) -> float:
    known = steps[np.isfinite(steps["covariance_mean"].astype(np.float64))]
    tokens = float(known["n_tokens"].sum())
    return float((known["covariance_mean"] * known["n_tokens"]).sum()) / tokens if tokens else np.nan


def _warnings(run: Run, row: dict[str, Any], metrics: Sequence[str]) -> list[str]:
    missing = [name for name in metrics if np.isnan(row[f"{name}_end"])]
    notes = []
    if run.evaluations().empty:
        notes.append(f"{run.name} holds no evaluations, so its accuracies are missing")
    elif missing:
        notes.append(f"{run.name} holds no validation evaluations of {', '.join(missing)}")
    if row["last_step"] is None:
        notes.append(f"{run.name} holds no whole step, so its entropy and covariance are missing")
    elif np.isnan(row["entropy_end"]):
        notes.append(f"{run.name} holds no entropy")
    if run.problems(rows=False):
        notes.append(f"{run.name} has problems in its files: entropylab doctor and the Data page list them")
    return notes
