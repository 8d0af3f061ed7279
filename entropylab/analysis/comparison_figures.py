"""The figures of one run that a comparison sets side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..record.reader import Run

EVALUATIONS = ("accuracy", "accuracy_greedy", "pass@8")
"""Metrics of the split "validation": at temperature 1, greedy, and any of 8 samples right."""

FIGURES = (*(f"{name}_{when}" for name in (*EVALUATIONS, "entropy") for when in ("start", "end")),)
"""Figures with a start and an end; entropy in nats, the mean over tokens."""

METRICS = (*FIGURES, "selected_share", "covariance_mean")
"""All figures of a run: `FIGURES`, share of tokens selected, mean covariance over all tokens and steps."""

LAST_EVALUATIONS = 4
LAST_STEPS = 10


def run_figures(run: Run) -> tuple[dict[str, Any], list[str]]:
    """One row of `Comparison.runs`, missing values as NaN, and the warnings about this run."""
    steps, evaluations = run.steps(), run.evaluations()
    row: dict[str, Any] = {
        "run": run.name,
        "method": run.method,
        "seed": run.config.get("seed"),
        "start": run.config.get("start"),
        "last_step": int(steps["step"].max()) if len(steps) else None,
    }
    for name in EVALUATIONS:
        row |= _evaluation(evaluations, name)
    row |= _entropy(steps) | {"selected_share": _selected_share(steps), "covariance_mean": _covariance(steps)}
    return row, _warnings(run, row, evaluations)


def problems_of(run: Run) -> float:
    """The fewest problems behind a validation accuracy; NaN where no number was recorded."""
    evaluations = run.evaluations()
    numbers = evaluations.loc[evaluations["split"] == "validation", "n"].to_numpy(np.float64)
    known = numbers[numbers >= 1]
    return float(known.min()) if len(known) else float("nan")


def _evaluation(evaluations: pd.DataFrame, name: str) -> dict[str, float]:
    """The first value and the mean of the last 4 of a validation metric."""
    chosen = (evaluations["split"] == "validation") & (evaluations["metric"] == name)
    values = evaluations[chosen].sort_values("step")["value"].to_numpy(np.float64)
    if not len(values):
        return {f"{name}_start": np.nan, f"{name}_end": np.nan}
    return {f"{name}_start": float(values[0]), f"{name}_end": float(values[-LAST_EVALUATIONS:].mean())}


def _entropy(steps: pd.DataFrame) -> dict[str, float]:
    """Entropy (token mean) of the first step, and the mean of the last 10."""
    values = steps.sort_values("step")["entropy_token_mean"].to_numpy(np.float64)
    if not len(values):
        return {"entropy_start": np.nan, "entropy_end": np.nan}
    return {"entropy_start": float(values[0]), "entropy_end": float(values[-LAST_STEPS:].mean())}


def _selected_share(steps: pd.DataFrame) -> float:
    tokens = float(steps["n_tokens"].sum())
    return float(steps["selected_count"].sum()) / tokens if tokens else np.nan


def _covariance(steps: pd.DataFrame) -> float:
    known = steps[np.isfinite(steps["covariance_mean"].astype(np.float64))]
    tokens = float(known["n_tokens"].sum())
    return float((known["covariance_mean"] * known["n_tokens"]).sum()) / tokens if tokens else np.nan


def _warnings(run: Run, row: dict[str, Any], evaluations: pd.DataFrame) -> list[str]:
    missing = [name for name in EVALUATIONS if np.isnan(row[f"{name}_end"])]
    notes = []
    if evaluations.empty:
        notes.append(f"{run.name} holds no evaluations, so its accuracies are missing")
    elif missing:
        notes.append(f"{run.name} holds no validation evaluations of {', '.join(missing)}")
    if row["last_step"] is None:
        notes.append(f"{run.name} holds no whole step, so its entropy and covariance are missing")
    elif np.isnan(row["entropy_end"]):
        notes.append(f"{run.name} holds no entropy")
    if run.problems(rows=False):
        notes.append(f"{run.name} has incomplete data: see its problems()")
    return notes
