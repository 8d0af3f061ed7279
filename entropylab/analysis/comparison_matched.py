"""Methods where they have trained equally long, on as many tokens, or to the same entropy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..errors import UnknownNameError
from ..record.reader import Run
from .cluster_bootstrap import Floats
from .comparison_figures import LAST_EVALUATIONS, LAST_STEPS
from .trajectories import evaluation_series

AT = ("steps", "tokens", "entropy")
"""What is made equal: training steps, tokens trained on, or entropy (mean over 10 steps), in nats."""


@dataclass(frozen=True)
class Curves:
    """A run's evaluations by step: place of each in steps, tokens and entropy, and its metrics, [m] each."""

    places: dict[str, Floats]
    metrics: dict[str, Floats]

    def end(self, at: str) -> float:
        """How far the run went: its last step or token, or the lowest entropy; NaN where unknown."""
        place = self.places[at]
        known = place[np.isfinite(place)]
        if not len(known):
            return float("nan")
        return float(known.min() if at == "entropy" else known.max())

    def value(self, at: str, x: float, metric: str) -> float:
        """Mean of 4 evaluations: the last up to x; at an entropy, those around the first down to it."""
        place, values = self.places[at], self.metrics[metric]
        if at == "entropy":
            reached = np.flatnonzero(place <= x)
            if not len(reached) or (reached[0] == 0 and place[0] < x):
                return float("nan")
            first = max(int(reached[0]) - LAST_EVALUATIONS // 2, 0)
            return _mean(values[first : first + LAST_EVALUATIONS])
        return _mean(values[place <= x][-LAST_EVALUATIONS:])


def curves_of(run: Run, metrics: Sequence[str]) -> Curves:
    """The curves of a run; empty where it has none of these evaluations."""
    steps, evaluations = run.steps(), run.evaluations()
    frames = {}
    for metric in metrics:
        try:
            frames[metric] = evaluation_series(evaluations, steps, metric).set_index("step")
        except UnknownNameError:
            continue
    index = sorted(set().union(*(frame.index for frame in frames.values())))
    tokens = pd.concat([f["tokens"] for f in frames.values()]) if frames else pd.Series(dtype=float)
    tokens = tokens[~tokens.index.duplicated()].reindex(index)
    values = {
        name: frames[name]["value"].reindex(index).to_numpy(np.float64)
        if name in frames
        else np.full(len(index), np.nan)
        for name in metrics
    }
    places = {
        "steps": np.array(index, dtype=np.float64),
        "tokens": tokens.to_numpy(np.float64),
        "entropy": _entropy_at(steps, index),
    }
    return Curves(places, values)


def matched_values(curves: Sequence[Curves], table: pd.DataFrame, at: str) -> tuple[float, pd.DataFrame]:
    """(x, ``table`` with the metrics of each run there): the farthest place that every run has reached."""
    ends = np.array([c.end(at) for c in curves])
    x = float(ends.max() if at == "entropy" else ends.min()) if np.isfinite(ends).all() else float("nan")
    metrics = curves[0].metrics if curves else ()
    rows: dict[str, Any] = {m: [c.value(at, x, m) for c in curves] for m in metrics}
    return x, table.assign(**rows)


def _entropy_at(steps: pd.DataFrame, index: Sequence[int]) -> Floats:
    """Entropy around each evaluation: the mean of the 10 steps nearest before and after it."""
    ordered = steps.sort_values("step")
    at, h = ordered["step"].to_numpy(), ordered["entropy_token_mean"].to_numpy(np.float64)
    half = LAST_STEPS // 2
    places = np.searchsorted(at, np.asarray(index, dtype=np.float64))
    return np.array([_mean(h[max(p - half, 0) : p + half]) for p in places], dtype=np.float64)


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
