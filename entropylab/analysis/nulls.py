"""The exact null N1: the covariance as it would be if log-probability and advantage were independent.

A product of two independent margins already looks heavy-tailed, so the observed tail is read beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from .cluster_bootstrap import Clusters, CutSums, Floats
from .concentration import near_fractions, upper_means

MAX_ADVANTAGES = 2048
"""More different advantages than this are merged into bins, each at its mean; `error` bounds the effect."""


@dataclass(frozen=True)
class Places:
    """Where thresholds c, [t], cut the sorted log-probabilities: at c/a for each of the advantages, [U].

    `cuts` [q] are ascending places in 0..n, and `index` [t, U] says which of them: before it l <= c/a where
    a > 0, l < c/a where a < 0; before it all or none where a = 0.
    """

    thresholds: Floats
    cuts: NDArray[np.intp]
    index: NDArray[np.intp]


@dataclass(frozen=True)
class Margins:
    """Two independent margins: l by its weight `held` and weighted sum before each cut of some `Places`, [q],
    and its `total` sum (of weight 1); the advantages [U] by their weights.
    """

    held: Floats
    sums: Floats
    total: float
    advantages: Floats
    weights: Floats

    def above(self, places: Places) -> tuple[Floats, Floats]:
        """(P(a·l > c), E[a·l; a·l > c]) for each threshold c, [t], exact: Σ_a w_a P(a·l > c | a)."""
        held, sums = self.held[places.index], self.sums[places.index]
        upper = self.advantages >= 0
        held[:, upper] = 1 - held[:, upper]
        sums[:, upper] = self.total - sums[:, upper]
        return held @ self.weights, sums @ (self.weights * self.advantages)


@dataclass(frozen=True)
class IndependentProduct:
    """N1 of tokens with centred log-probability l and advantage a.

    l ascending, [n], by `order`, with cumulative weight `held` and `sums` [n + 1]; the unique advantages [U]
    ascending, their `weights`, and the place of each token's among them, `which` [n]. `spread` =
    E|l| · E|a - a'| is 0 unless advantages were merged (a' is the merged value). `counted` [n]: how many
    tokens each row stands for, None: one each.
    """

    logprobs: Floats
    order: NDArray[np.intp]
    sums: Floats
    advantages: Floats
    weights: Floats
    which: NDArray[np.intp]
    spread: float
    held: Floats
    counted: Floats | None

    @classmethod
    def of(cls, logprobs: Floats, advantages: Floats, counted: Floats | None = None) -> IndependentProduct:
        """Sort the log-probabilities once and list the unique advantages.

        `counted` [n]: how many tokens each row stands for; None: one each.
        """
        order = np.argsort(logprobs, kind="stable")
        unique, which = _unique_advantages(advantages, counted)
        off = np.abs(advantages - unique[which])
        spread = float(np.average(np.abs(logprobs), weights=counted) * np.average(off, weights=counted))
        w = np.ones(len(order)) if counted is None else counted[order]
        held = np.concatenate(([0.0], np.cumsum(w)))
        sums = np.concatenate(([0.0], np.cumsum(w * logprobs[order])))
        weights = np.bincount(which, counted)
        weights = weights / weights.sum()
        return cls(logprobs[order], order, sums, unique, weights, which, spread, held, counted)

    def places(self, thresholds: Floats) -> Places:
        """Cut the log-probabilities at c/a for each threshold c, [t], and each advantage a."""
        place = np.empty((len(thresholds), len(self.advantages)), dtype=np.intp)
        for j, a in enumerate(self.advantages):
            if a == 0:
                place[:, j] = np.where(thresholds < 0, 0, len(self.logprobs))
            else:
                place[:, j] = np.searchsorted(
                    self.logprobs, thresholds / a, side="right" if a > 0 else "left"
                )
        cuts, index = np.unique(place, return_inverse=True)
        return Places(thresholds, cuts, index.reshape(place.shape))

    def margins(self, places: Places) -> Margins:
        """The margins at the cuts of `places`, each token counted once."""
        n = self.held[-1]
        total = float(self.sums[-1] / n)
        held, sums = self.held[places.cuts] / n, self.sums[places.cuts] / n
        return Margins(held, sums, total, self.advantages, self.weights)

    def survival(self, thresholds: Floats) -> Floats:
        """S0(c) = P(a·l > c) for each threshold, [t]."""
        places = self.places(thresholds)
        return self.margins(places).above(places)[0]

    def quantiles(self, fractions: Floats, halvings: int = 48) -> Floats:
        """The c with S0(c) <= f, as small as so many halvings of the product's range find it, [m]."""
        span = np.abs(self.advantages).max() * np.abs(self.logprobs[[0, -1]]).max()
        low, high = np.full_like(fractions, -span), np.full_like(fractions, span)
        for _ in range(halvings):
            middle = (low + high) / 2
            over = self.survival(middle) > fractions
            low, high = np.where(over, middle, low), np.where(over, high, middle)
        return high

    def top_means(self, fractions: Floats) -> Floats:
        """Mean of the product's top fraction f, [m], exact: c + E[max(a·l - c, 0)]/f at the quantile c."""
        places = self.places(self.quantiles(fractions))
        return upper_means(places.thresholds, *self.margins(places).above(places), fractions)

    def error(self, fractions: Floats) -> Floats:
        """Bound on the error of each top mean through merged advantages, E|l|·E|a - a'|/f, [m]."""
        return self.spread / fractions


@dataclass(frozen=True)
class ReweightedProduct:
    """Top means of N1 at fixed fractions, [m], for any cluster counts, without a pass over the tokens."""

    null: IndependentProduct
    fractions: Floats
    places: Places
    logprobs: CutSums
    advantages: csr_matrix

    @classmethod
    def of(cls, null: IndependentProduct, clusters: Clusters, fractions: Floats) -> ReweightedProduct:
        """Sum log-probabilities and count advantages by cluster, between the cuts of near quantiles."""
        places = null.places(null.quantiles(near_fractions(fractions), halvings=12))
        counted = np.ones(len(null.which)) if null.counted is None else null.counted
        codes = clusters.codes[null.order]
        cuts = CutSums.of(null.logprobs, codes, clusters.count, places.cuts, counted[null.order])
        pairs = (null.which, clusters.codes)
        held = csr_matrix((counted, pairs), shape=(len(null.advantages), clusters.count))
        return cls(null, fractions, places, cuts, held)

    def top_means(self, counts: Floats) -> Floats:
        """The null's top means where cluster c counts `counts[c]` times, [m]; `upper_means` has the error."""
        held, sums = self.logprobs.at(counts)
        n, weights = held[-1], self.advantages @ counts
        margins = Margins(held / n, sums / n, float(sums[-1] / n), self.null.advantages, weights / n)
        return upper_means(self.places.thresholds, *margins.above(self.places), self.fractions)


def _unique_advantages(advantages: Floats, counted: Floats | None) -> tuple[Floats, NDArray[np.intp]]:
    unique, which = np.unique(advantages, return_inverse=True)
    if len(unique) <= MAX_ADVANTAGES:
        return unique, which
    edges = np.linspace(unique[0], unique[-1], MAX_ADVANTAGES + 1)[1:-1]
    _, which = np.unique(np.searchsorted(edges, advantages, side="right"), return_inverse=True)
    sums = np.bincount(which, advantages if counted is None else counted * advantages)
    return sums / np.bincount(which, counted), which
