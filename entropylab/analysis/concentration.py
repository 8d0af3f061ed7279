"""How much of the covariance a few tokens hold: top means, shares with a named denominator, Lorenz, Gini."""

from __future__ import annotations

import numpy as np

from ..record.summary import top_count
from ..schema import TOP_FRACTIONS
from .cluster_bootstrap import Floats

SHARES = ("top_share_positive", "top_share_absolute", "top_share_net")
"""The sum of the top tokens over Σ max(c, 0), Σ |c| or Σ c; the last is a small remainder: it may exceed 1."""


def top_sums(values: Floats, counts: Floats, weights: Floats | None = None) -> Floats:
    """Sums of the largest `counts` [m] of descending `values` [n]; a weight that crosses a count is cut."""
    held = np.arange(1, len(values) + 1) if weights is None else np.cumsum(weights)
    sums = np.cumsum(values if weights is None else weights * values)
    last = np.minimum(np.searchsorted(held, counts), len(values) - 1)
    return sums[last] - (held[last] - counts) * values[last]


def top_means(covariance: Floats, fractions: tuple[float, ...] = TOP_FRACTIONS) -> Floats:
    """Mean covariance of the top k = ⌈f n⌉ tokens for each fraction f (arXiv 2505.22617, table 1), [m]."""
    counts = np.array([top_count(f, len(covariance)) for f in fractions], dtype=np.float64)
    return top_sums(np.sort(covariance)[::-1], counts) / counts


def denominators(values: Floats) -> Floats:
    """Each value's part of the denominators of `SHARES`, [n, 3]: max(c, 0), |c|, c."""
    return np.column_stack([np.maximum(values, 0), np.abs(values), values])


def shares(sums: Floats, totals: Floats) -> Floats:
    """Shares [m, 3] of the top sums [m] in the denominators `totals` [3]; NaN where one is not positive."""
    usable = np.where(totals > 0, totals, np.nan)
    return sums[:, None] / usable[None, :]


def lorenz(values: Floats, points: int = 101) -> tuple[Floats, Floats]:
    """Lorenz curve of the positive part, largest first: (share of tokens, share of Σ max(c, 0)), [points]."""
    share = np.linspace(0, 1, points)
    held = np.concatenate(([0.0], np.cumsum(np.maximum(np.sort(values)[::-1], 0))))
    place = share * len(values)
    return share, np.interp(place, np.arange(len(held)), held) / held[-1]


def gini(values: Floats) -> float:
    """Gini coefficient of |c|: 0 where all tokens are alike, 1 where one token holds everything.

    G = 2 Σ i |c|₍ᵢ₎ / (n Σ |c|) - (n + 1)/n, with |c|₍₁₎ ≤ … ≤ |c|₍ₙ₎.
    """
    size = np.sort(np.abs(values))
    n = len(size)
    return float(2 * (np.arange(1, n + 1) @ size) / (n * size.sum()) - (n + 1) / n)
