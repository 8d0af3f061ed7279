"""Uncertainty by clusters: tokens of a response share an advantage, so whole prompts are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]

MIN_REPLICATES = 50
"""Fewest replicates from which an interval is read."""


@dataclass(frozen=True)
class Clusters:
    """The cluster of each token: `codes` int [n] in 0..count-1; `kind` is "prompt", "response" or "token".

    `weights` [n]: how many tokens each row stands for; None: one each.
    """

    codes: NDArray[np.intp]
    count: int
    kind: str
    weights: Floats | None = None

    @cached_property
    def sizes(self) -> Floats:
        """Tokens of each cluster, [count]."""
        return np.bincount(self.codes, self.weights, minlength=self.count).astype(np.float64)

    @property
    def known(self) -> bool:
        """Whether tokens are grouped at all, so that an interval means something."""
        return self.kind != "token" and self.count > 1


def make_clusters(
    n: int,
    prompt_ids: NDArray | None = None,
    sample_ids: NDArray | None = None,
    weights: Floats | None = None,
) -> Clusters:
    """Clusters by prompt, else by response, else one cluster a token (unknown)."""
    for kind, ids in (("prompt", prompt_ids), ("response", sample_ids)):
        if ids is not None:
            unique, codes = np.unique(ids, return_inverse=True)
            return Clusters(codes.reshape(-1), len(unique), kind, weights)
    return Clusters(np.arange(n), n, "token", weights)


def cluster_sums(values: Floats, codes: NDArray[np.intp], count: int) -> Floats:
    """Sum of each column of `values` [n] or [n, m] within each cluster: [count, m]."""
    columns = values.reshape(len(values), -1)
    sums = np.empty((count, columns.shape[1]))
    for j in range(columns.shape[1]):
        sums[:, j] = np.bincount(codes, weights=columns[:, j], minlength=count)
    return sums


@dataclass(frozen=True)
class CutSums:
    """Weight and weighted sum of the sorted values before each of some cuts, for whatever cluster counts.

    `number` and `total` hold, sparse, the tokens and their sum of each (piece between cuts, cluster),
    [q + 1, clusters], so that a replicate costs no pass over the tokens.
    """

    number: csr_matrix
    total: csr_matrix

    @classmethod
    def of(
        cls,
        values: Floats,
        codes: NDArray[np.intp],
        count: int,
        cuts: NDArray[np.intp],
        weights: Floats | None = None,
    ) -> CutSums:
        """`values` [n] sorted, with their clusters `codes`, `weights` [n]; `cuts` [q] ascending in 0..n."""
        piece = np.searchsorted(cuts, np.arange(len(values)), side="right")
        shape, place = (len(cuts) + 1, count), (piece, codes)
        held = np.ones(len(values)) if weights is None else weights
        total = values if weights is None else weights * values
        return cls(csr_matrix((held, place), shape=shape), csr_matrix((total, place), shape=shape))

    def at(self, counts: Floats) -> tuple[Floats, Floats]:
        """(weight, weighted sum) before each cut and, last, of all tokens, [q + 1], by cluster counts."""
        return np.cumsum(self.number @ counts), np.cumsum(self.total @ counts)


def resamples(count: int, n_bootstrap: int, seed: int) -> Iterator[Floats]:
    """How often each of `count` clusters is drawn, [count], per replicate; a seed always gives the same."""
    rng = np.random.default_rng(seed)
    shares = np.full(count, 1.0 / count)
    for _ in range(n_bootstrap):
        yield rng.multinomial(count, shares).astype(np.float64)


def bootstrap(
    statistic: Callable[[Floats], Floats],
    count: int,
    n_bootstrap: int,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> Floats:
    """Replicates [n_bootstrap, m] of a statistic from the cluster counts [count] to [m] values.

    ``tick`` is called after each replicate.
    """
    found = []
    for counts in resamples(count, n_bootstrap, seed):
        found.append(statistic(counts))
        tick()
    return np.array(found)


def percentile_interval(replicates: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Percentile interval of each column [R, m]: (low [m], high [m]); NaN where under half are finite."""
    usable = np.isfinite(replicates).sum(axis=0) >= max(MIN_REPLICATES, replicates.shape[0] // 2)
    low, high = np.full((2, replicates.shape[1]), np.nan)
    tail = (1 - level) / 2
    if usable.any():
        low[usable], high[usable] = np.nanquantile(replicates[:, usable], [tail, 1 - tail], axis=0)
    return low, high


def cluster_error(influence: Floats, codes: NDArray[np.intp]) -> float:
    """Standard error, by whole clusters, of a mean whose influence of each token is given, centred, [n]."""
    count = int(codes.max()) + 1
    if count < 2:
        return 0.0
    sums = cluster_sums(influence, codes, count)[:, 0]
    return float(np.sqrt(count / (count - 1) * (sums**2).sum()) / len(influence))
