"""Intervals of shares and enrichments, from counts and a standard error by prompts."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

MIN_COUNT = 5
"""Fewest tokens of a kind from which an enrichment has an interval."""


def share_bounds(p: float, error: float, clusters: int, level: float) -> tuple[float, float]:
    """Wilson interval of a share p at the effective sample size n_eff = p (1 - p) / error².

    It is the number of clusters where the share varies over none of them (error 0).
    """
    size = p * (1 - p) / error**2 if error > 0 else clusters
    z = norm.ppf((1 + level) / 2)
    middle, scale = (p + z**2 / (2 * size)) / (1 + z**2 / size), z / (1 + z**2 / size)
    half = scale * np.sqrt(p * (1 - p) / size + z**2 / (4 * size**2))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def enrichment_row(
    n: float, inside: float, both: float, of_kind: float, error: float | None, level: float
) -> dict[str, float]:
    """Of tokens of one kind: their share of a set over their share of all, its interval and two-sided p.

    n: all tokens; inside: those of the set; of_kind: those of the kind; both: the kind in the set. The
    interval is exp(ln ratio ± z error), NaN without a standard error of ln ratio.
    """
    share, overall = both / inside, of_kind / n
    ratio = share / overall
    low = high = p = np.nan
    if error is not None:
        half = norm.ppf((1 + level) / 2) * error
        low, high = ratio * np.exp(-half), ratio * np.exp(half)
        p = float(2 * norm.sf(abs(np.log(ratio)) / error)) if error > 0 else 0.0
    return {
        "count": round(both),
        "share": share,
        "share_all": overall,
        "enrichment": ratio,
        "low": low,
        "high": high,
        "p": p,
    }
