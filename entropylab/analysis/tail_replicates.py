"""One pass of the cluster bootstrap over one side of the covariance: top means, shares, null, tail index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..record.summary import top_count
from ..schema import TOP_FRACTIONS
from .cluster_bootstrap import Clusters, Floats, bootstrap, cluster_sums
from .concentration import ReweightedTops, denominators, shares, top_means, top_rows
from .nulls import IndependentProduct, ReweightedProduct
from .tail_estimators import MIN_EXCEEDANCES, Exceedances
from .tail_sample import TailSample

FRACTIONS = np.array(TOP_FRACTIONS)
"""Fractions of the top means, [m]."""

TAIL_FRACTIONS = (0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4)
"""Fractions of the tokens above the threshold at which ξ is estimated."""


@dataclass(frozen=True)
class Figures:
    """Top means [m], shares [m, 3], independent top means [m], ξ [t, 3]; a leading axis where replicated."""

    top: Floats
    shares: Floats
    null: Floats
    index: Floats

    @property
    def ratio(self) -> Floats:
        """Observed top mean over the one under independence, NaN where that is not positive."""
        return self.top / np.where(self.null > 0, self.null, np.nan)

    def flat(self) -> Floats:
        """All figures of one replicate in a row."""
        return np.concatenate([self.top, self.shares.ravel(), self.null, self.index.ravel()])

    @classmethod
    def split(cls, flat: Floats) -> Figures:
        """The inverse of `flat`, over any leading axes."""
        m, lead = len(FRACTIONS), flat.shape[:-1]
        top, share, null, index = np.split(flat, [m, 4 * m, 5 * m], axis=-1)
        return cls(top, share.reshape(*lead, m, 3), null, index.reshape(*lead, index.shape[-1] // 3, 3))


@dataclass(frozen=True)
class Side:
    """One side of the covariance, mirrored so that its tail is on the right; values descending, [n].

    `size` = n tokens, `share` = ⌈f n⌉/n, [m]; `weights` [n]: tokens a row stands for, None: one each. What
    each replicate needs is summed by cluster once: `tops`, `totals` [clusters, 3], `null_tops`, `tails`.
    """

    values: Floats
    ranked_codes: NDArray[np.intp]
    clusters: Clusters
    share: Floats
    tops: ReweightedTops
    totals: Floats
    null: IndependentProduct | None
    null_tops: ReweightedProduct | None
    tails: dict[float, Exceedances]
    size: float
    weights: Floats | None

    @classmethod
    def of(cls, sample: TailSample, sign: float) -> Side:
        """Sort the right (sign 1) or left (sign -1) side."""
        covariance, clusters = sign * sample.covariance, sample.clusters
        order = np.argsort(-covariance, kind="stable")
        values, ranked = covariance[order], clusters.codes[order]
        w, size = sample.weights, sample.size
        ranked_weights = None if w is None else w[order]
        share = np.array([top_count(f, size) for f in FRACTIONS]) / size
        tops = ReweightedTops.of(values, ranked, clusters.count, share, ranked_weights)
        parts = denominators(covariance)
        parts = parts if w is None else parts * w[:, None]
        totals = cluster_sums(parts, clusters.codes, clusters.count)
        null = null_tops = None
        if sample.logprobs is not None and sample.advantages is not None:
            null = IndependentProduct.of(sample.logprobs, sign * sample.advantages, w)
            null_tops = ReweightedProduct.of(null, clusters, share)
        tails = _tails(values, ranked, size, ranked_weights)
        return cls(
            values, ranked, clusters, share, tops, totals, null, null_tops, tails, size, ranked_weights
        )

    def point(self) -> Figures:
        """The figures of the sample itself, k = ⌈f n⌉."""
        top = top_means(self.values, weights=self.weights)
        null = np.full(len(top), np.nan) if self.null is None else self.null.top_means(self.share)
        index = np.array([tail.estimate() for tail in self.tails.values()]).reshape(-1, 3)
        sums = top * self.share * self.size
        return Figures(top, shares(sums, self.totals.sum(axis=0)), null, index)

    def replicate(self, counts: Floats) -> Figures:
        """The same where cluster c is drawn `counts[c]` times; thresholds of ξ are held fixed."""
        top = self.tops.top_means(counts)
        sums = top * self.share * (self.clusters.sizes @ counts)
        null = np.full(len(top), np.nan) if self.null_tops is None else self.null_tops.top_means(counts)
        index = np.array([tail.replicate(counts) for tail in self.tails.values()]).reshape(-1, 3)
        return Figures(top, shares(sums, counts @ self.totals), null, index)

    def replicates(self, n_bootstrap: int, seed: int, tick: Callable[[], None] = lambda: None) -> Figures:
        """Replicated figures with a leading axis [n_bootstrap]; none where clusters are unknown or one."""
        if not self.clusters.known:
            return Figures.split(np.empty((0, len(self.point().flat()))))
        count = self.clusters.count
        draw = bootstrap(lambda counts: self.replicate(counts).flat(), count, n_bootstrap, seed, tick)
        return Figures.split(draw)


def _tails(
    descending: Floats, codes: NDArray[np.intp], size: int, weights: Floats | None
) -> dict[float, Exceedances]:
    """Exceedances at each fraction that leaves at least `MIN_EXCEEDANCES` and is not cut short by ties."""
    tails = {}
    held = None if weights is None else np.cumsum(weights)
    for fraction in TAIL_FRACTIONS:
        k = top_count(fraction, size)
        k = k if held is None else int(top_rows(held, np.array([k]))[0])
        if k < MIN_EXCEEDANCES:
            break
        if k >= len(descending):
            continue  # a few rows stand for more than the fraction
        tail = Exceedances.of(descending, codes, k, weights)
        if len(tail.excess) >= MIN_EXCEEDANCES:
            tails[fraction] = tail
    return tails
