"""The tables of a tail report, from the figures of each side and their replicates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ..record.summary import top_count
from .cluster_bootstrap import Floats, percentile_interval
from .concentration import SHARES
from .nulls import IndependentProduct
from .tail_estimators import ESTIMATORS
from .tail_replicates import FRACTIONS, Figures, Side

SURVIVAL_POINTS = 80


def concentration_frame(point: Figures, draws: Figures, n: int, level: float) -> pd.DataFrame:
    """One row a fraction: k, top mean and shares, each with its interval (`low`, `<share>_low`, ...)."""
    low, high = percentile_interval(draws.top, level)
    columns = {"fraction": FRACTIONS, "k": _counts(n), "top_mean": point.top, "low": low, "high": high}
    for j, name in enumerate(SHARES):
        low, high = percentile_interval(draws.shares[..., j], level)
        columns |= {name: point.shares[:, j], f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame(columns)


def null_frame(tail: str, side: Side, point: Figures, draws: Figures, level: float) -> pd.DataFrame:
    """Top means of one side beside N1, their ratio with its interval, and the one-sided p of a ratio of 1.

    The interval is exp(ln ratio ± t se): se from the replicates, t with (clusters - 1) degrees of freedom.
    `error` bounds the error of `independent` through merged advantages (0: exact).
    """
    error = np.zeros(len(FRACTIONS)) if side.null is None else side.null.error(FRACTIONS)
    low, high, p = _ratio_test(point.ratio, draws.ratio, side.clusters.count, level)
    return pd.DataFrame(
        {
            "tail": tail,
            "fraction": FRACTIONS,
            "k": _counts(round(side.size)),
            "observed": point.top,
            "independent": point.null,
            "ratio": point.ratio,
            "ratio_low": low,
            "ratio_high": high,
            "p": p,
            "error": error,
        }
    )


def _counts(n: int) -> list[int]:
    return [top_count(f, n) for f in FRACTIONS]


def _ratio_test(ratio: Floats, draws: Floats, clusters: int, level: float) -> tuple[Floats, Floats, Floats]:
    usable = np.isfinite(ratio) & (ratio > 0) & (np.isfinite(draws).sum(axis=0) >= 2)
    low, high, p = np.full((3, len(ratio)), np.nan)
    if usable.any():
        logs = np.log(ratio[usable])
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.nanstd(np.log(draws[:, usable]), axis=0, ddof=1) * np.sqrt(clusters / (clusters - 1))
            half = student.ppf((1 + level) / 2, clusters - 1) * spread
            p[usable] = student.sf(logs / spread, clusters - 1)
        low[usable], high[usable] = np.exp(logs - half), np.exp(logs + half)
    return low, high, p


def estimate_frame(tail: str, side: Side, point: Figures, draws: Figures, level: float) -> pd.DataFrame:
    """One row a threshold of one side: k, clusters above it, threshold, mean excess, ξ by each estimator."""
    tails = side.tails.values()
    columns: dict[str, Any] = {
        "tail": tail,
        "fraction": list(side.tails),
        "k": [len(t.excess) for t in tails],
        "clusters": [len(t.present) for t in tails],
        "threshold": [t.threshold for t in tails],
        "mean_excess": [t.mean_excess for t in tails],
    }
    for j, name in enumerate(ESTIMATORS):
        low, high = percentile_interval(draws.index[..., j], level)
        columns |= {name: point.index[:, j], f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame(columns)


def survival_frame(
    tail: str, values: Floats, null: IndependentProduct | None, weights: Floats | None = None
) -> pd.DataFrame:
    """P(X > x) of one side's descending values and of N1, on a log grid from the median positive value up."""
    positive = values[: int(np.searchsorted(-values, 0.0, side="left"))]
    if len(positive) < 2 or positive[0] == positive[-1]:
        return pd.DataFrame({"tail": [], "x": [], "observed": [], "independent": []})
    x = np.geomspace(np.median(positive), positive[0], SURVIVAL_POINTS)
    above = np.searchsorted(-values, -x, side="left")
    observed = above / len(values)
    if weights is not None:
        observed = np.concatenate(([0.0], np.cumsum(weights)))[above] / weights.sum()
    independent = np.full(len(x), np.nan) if null is None else null.survival(x)
    return pd.DataFrame({"tail": tail, "x": x, "observed": observed, "independent": independent})
