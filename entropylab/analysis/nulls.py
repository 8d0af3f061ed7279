"""The exact null N1: the covariance as it would be if log-probability and advantage were independent.

A product of two independent margins already looks heavy-tailed, so the observed tail is read beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cluster_bootstrap import Floats

MAX_ADVANTAGES = 200
"""More different advantages than this are merged into bins, each at its mean; `error` bounds the effect."""

_STEPS = 48
"""Halvings of the threshold's bracket: leaves 4e-15 of the product's range."""


@dataclass(frozen=True)
class Margins:
    """The product of two independent discrete margins: l ascending [n], and a [U] with weights w_a.

    `held` and `sums` [n + 1] are the cumulative weight and weighted sum of l, normalised to total weight 1.
    """

    logprobs: Floats
    held: Floats
    sums: Floats
    advantages: Floats
    weights: Floats

    def above(self, thresholds: Floats) -> tuple[Floats, Floats]:
        """(P(a·l > c), E[a·l; a·l > c]) for each threshold c, [m] each, exact.

        P(a·l > c) = Σ_a w_a P(a·l > c | a): l > c/a where a > 0, l < c/a where a < 0, 0 > c where a = 0.
        """
        up, down = self.advantages > 0, self.advantages < 0
        probability = (thresholds < 0) * self.weights[~up & ~down].sum()
        mean = np.zeros_like(probability)
        for sign, chosen in (("right", up), ("left", down)):
            a, w = self.advantages[chosen], self.weights[chosen]
            place = np.searchsorted(self.logprobs, thresholds[:, None] / a[None, :], side=sign)  # type: ignore[call-overload]
            held, sums = self.held[place], self.sums[place]
            if sign == "right":
                held, sums = self.held[-1] - held, self.sums[-1] - sums
            probability = probability + held @ w
            mean = mean + sums @ (w * a)
        return probability, mean

    def survival(self, thresholds: Floats) -> Floats:
        """S0(c) = P(a·l > c) for each threshold, [m]."""
        return self.above(thresholds)[0]

    def top_means(self, fractions: Floats) -> Floats:
        """Mean of the product's top fraction f, [m]: (E[x; x > c] + c (f - S0(c)))/f at the quantile c."""
        span = np.abs(self.advantages).max() * np.abs(self.logprobs[[0, -1]]).max()
        low, high = np.full_like(fractions, -span), np.full_like(fractions, span)
        for _ in range(_STEPS):
            middle = (low + high) / 2
            over = self.survival(middle) > fractions
            low, high = np.where(over, middle, low), np.where(over, high, middle)
        probability, mean = self.above(high)
        return (mean + high * (fractions - probability)) / fractions


@dataclass(frozen=True)
class IndependentProduct:
    """N1 of tokens with centred log-probability l [n] and advantage a [n]; margins for any token weights.

    `order` sorts l; `which` [n] is the place of each token's advantage among `advantages` [U], ascending.
    `spread` = E|l| · E|a - a'| is 0 unless advantages were merged (a' is the merged value).
    """

    logprobs: Floats
    order: NDArray[np.intp]
    advantages: Floats
    which: NDArray[np.intp]
    spread: float

    @classmethod
    def of(cls, logprobs: Floats, advantages: Floats) -> IndependentProduct:
        """Sort the log-probabilities once and list the unique advantages."""
        order = np.argsort(logprobs, kind="stable")
        unique, which = _unique_advantages(advantages)
        spread = np.abs(logprobs).mean() * np.abs(advantages - unique[which]).mean()
        return cls(logprobs[order], order, unique, which, float(spread))

    def margins(self, weights: Floats | None = None) -> Margins:
        """Both margins where token i counts `weights[i]` times ([n]; once each when not given)."""
        n = len(self.logprobs)
        w = np.ones(n) if weights is None else weights
        sorted_weights = w[self.order] / w.sum()
        shares = np.bincount(self.which, weights=w, minlength=len(self.advantages)) / w.sum()
        held, sums = np.zeros((2, n + 1))
        np.cumsum(sorted_weights, out=held[1:])
        np.cumsum(sorted_weights * self.logprobs, out=sums[1:])
        return Margins(self.logprobs, held, sums, self.advantages, shares)

    def error(self, fractions: Floats) -> Floats:
        """Bound on the error of each top mean through merged advantages, E|l|·E|a - a'|/f, [m]."""
        return self.spread / fractions


def _unique_advantages(advantages: Floats) -> tuple[Floats, NDArray[np.intp]]:
    unique, which = np.unique(advantages, return_inverse=True)
    if len(unique) <= MAX_ADVANTAGES:
        return unique, which
    edges = np.linspace(unique[0], unique[-1], MAX_ADVANTAGES + 1)[1:-1]
    _, which = np.unique(np.searchsorted(edges, advantages, side="right"), return_inverse=True)
    return np.bincount(which, weights=advantages) / np.bincount(which), which
