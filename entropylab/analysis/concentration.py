"""How much of the covariance a few tokens hold: top means, shares with a named denominator, Lorenz, Gini."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..record.summary import top_count
from ..schema import TOP_FRACTIONS
from .cluster_bootstrap import CutSums, Floats

SHARES = ("top_share_positive", "top_share_absolute", "top_share_net")
"""The sum of the top tokens over Σ max(c, 0), Σ |c| or Σ c; the last is a small remainder, may exceed 1."""


_NEAR = np.exp(np.linspace(-1.2, 1.2, 25))
"""Factors of a fraction whose quantiles serve as thresholds for reweighted tokens, 10 % apart."""


def top_means(
    descending: Floats, fractions: tuple[float, ...] = TOP_FRACTIONS, weights: Floats | None = None
) -> Floats:
    """Mean of the largest k = ⌈f n⌉ of n descending values, [m] (arXiv 2505.22617, table 1).

    With `weights` [n] (tokens a row stands for) n is their sum, and the last row counts only up to k.
    """
    if weights is None:
        counts = np.array([top_count(f, len(descending)) for f in fractions])
        return np.cumsum(descending)[counts - 1] / counts
    held, sums = np.cumsum(weights), np.cumsum(weights * descending)
    wanted = np.array([top_count(f, whole_size(held[-1])) for f in fractions], dtype=np.float64)
    last = top_rows(held, wanted) - 1
    return (sums[last] - (held[last] - wanted) * descending[last]) / wanted


def whole_size(total: float) -> int:
    """The number of tokens that weights of this sum stand for."""
    return max(1, round(float(total)))


def top_rows(held: Floats, count: NDArray) -> NDArray[np.intp]:
    """Rows from the top, in cumulative weights `held` [n], that reach each count of tokens."""
    rows = np.searchsorted(held, np.asarray(count) * (1 - 1e-12), side="left") + 1
    return np.minimum(rows, len(held))


def top_mask(values: Floats, k: int, weights: Floats | None = None) -> NDArray[np.bool_]:
    """The rows of the k largest tokens, ties by order, [n]; with weights those that reach k tokens."""
    order = np.argsort(-values, kind="stable")
    rows = k if weights is None else int(top_rows(np.cumsum(weights[order]), np.array([k]))[0])
    mask = np.zeros(len(values), dtype=bool)
    mask[order[:rows]] = True
    return mask


def near_fractions(fractions: Floats) -> Floats:
    """Fractions around each given one, [m · g]."""
    return np.minimum(np.outer(fractions, _NEAR).ravel(), 1.0)


def upper_means(thresholds: Floats, probability: Floats, mean: Floats, fractions: Floats) -> Floats:
    """Mean of the top fraction f, [m]: min over c of c + E[max(x - c, 0)]/f (Rockafellar and Uryasev 2000).

    P(x > c) and E[x; x > c] at as many thresholds for each fraction, [m · g]. The minimum is at the quantile;
    a threshold beside it gives a value too large by the square of its distance.
    """
    excess = (mean - thresholds * probability).reshape(len(fractions), -1)
    return (thresholds.reshape(excess.shape) + excess / fractions[:, None]).min(axis=1)


@dataclass(frozen=True)
class ReweightedTops:
    """Top means at fixed fractions, [m], for any cluster counts, without a pass over the tokens."""

    fractions: Floats
    thresholds: Floats
    cuts: CutSums
    index: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        descending: Floats,
        codes: NDArray[np.intp],
        count: int,
        fractions: Floats,
        weights: Floats | None = None,
    ) -> Self:
        """Sum by cluster between the quantiles near each fraction; `codes`, `weights` [n] as the values."""
        held = np.cumsum(np.ones(len(descending)) if weights is None else weights)
        size = whole_size(held[-1])
        place = top_rows(held, np.array([top_count(f, size) for f in near_fractions(fractions)])) - 1
        thresholds = descending[place]
        above = np.searchsorted(-descending, -thresholds, side="left")
        cuts, index = np.unique(above, return_inverse=True)
        return cls(fractions, thresholds, CutSums.of(descending, codes, count, cuts, weights), index)

    def top_means(self, counts: Floats) -> Floats:
        """The top means where cluster c counts `counts[c]` times, [m]; see `upper_means` for the error."""
        held, sums = self.cuts.at(counts)
        probability, mean = held[self.index] / held[-1], sums[self.index] / held[-1]
        return upper_means(self.thresholds, probability, mean, self.fractions)


def denominators(values: Floats) -> Floats:
    """Each value's part of the denominators of `SHARES`, [n, 3]: max(c, 0), |c|, c."""
    return np.column_stack([np.maximum(values, 0), np.abs(values), values])


def shares(sums: Floats, totals: Floats) -> Floats:
    """Shares [m, 3] of the top sums [m] in the denominators [3]; NaN where one is not positive."""
    usable = np.where(totals > 0, totals, np.nan)
    return sums[:, None] / usable[None, :]


def lorenz(values: Floats, points: int = 101, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Lorenz curve, largest first: share of tokens, share of Σ max(c, 0) held, [points] each."""
    share = np.linspace(0, 1, points)
    order = np.argsort(-values, kind="stable")
    w = np.ones(len(values)) if weights is None else weights[order]
    tokens = np.concatenate(([0.0], np.cumsum(w)))
    held = np.concatenate(([0.0], np.cumsum(w * np.maximum(values[order], 0))))
    return share, np.interp(share * tokens[-1], tokens, held) / held[-1]


def gini(values: Floats, weights: Floats | None = None) -> float:
    """Gini coefficient of |c|: 0 where all tokens are alike, 1 where one token holds everything.

    G = 2 Σ i |c|₍ᵢ₎ / (n Σ |c|) - (n + 1)/n, with |c|₍₁₎ ≤ … ≤ |c|₍ₙ₎; with weights, i is the middle of the
    tokens that a row stands for.
    """
    if weights is not None:
        order = np.argsort(np.abs(values), kind="stable")
        w, c = weights[order], np.abs(values)[order]
        return float((w * (2 * np.cumsum(w) - w) @ c) / (w.sum() * (w @ c)) - 1)
    size = np.sort(np.abs(values))
    n = len(size)
    return float(2 * (np.arange(1, n + 1) @ size) / (n * size.sum()) - (n + 1) / n)


def share_of_most(counts: NDArray, fraction: float) -> float:
    """Share of the sum in the ``fraction`` of the entries with most, one at least; NaN of a sum of 0."""
    ranked = np.sort(counts)[::-1]
    total = ranked.sum()
    return float(ranked[: max(1, round(fraction * len(ranked)))].sum() / total) if total else float("nan")
