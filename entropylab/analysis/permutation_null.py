"""The null N2: advantages permuted over the responses of a prompt, so that who was rewarded is chance.

It keeps both margins, the prompts and their lengths, and breaks only the tie of a response's tokens to its
own reward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..record.summary import top_count
from .cluster_bootstrap import Floats
from .tail_estimators import MIN_EXCEEDANCES, moment

STATISTICS = ("mean", "top_mean_0.002", "top_mean_0.02", "top_share_positive_0.02", "xi_0.01", "xi_0.002")
"""Mean covariance, top means, share of the positive mass, ξ by the moment estimator above two thresholds."""

PERMUTATIONS = 199


@dataclass(frozen=True)
class Responses:
    """The tokens of a batch, [n], by response, [r]: `response` [n] is the number of each token's."""

    logprobs: Floats
    response: NDArray[np.intp]
    advantage: Floats
    prompt: NDArray[np.intp]

    def permuted(self, rng: np.random.Generator) -> Floats:
        """The covariance [n] with the advantages of each prompt's responses in another order."""
        order = np.lexsort((rng.random(len(self.prompt)), self.prompt))
        home = np.argsort(self.prompt, kind="stable")
        drawn = np.empty_like(self.advantage)
        drawn[home] = self.advantage[order]
        a = drawn[self.response]
        return self.logprobs * (a - a.mean())


def responses_of(
    logprobs: Floats, advantages: Floats, prompt_ids: NDArray, sample_ids: NDArray
) -> Responses | str:
    """The batch by response; in place of it the reason where advantages cannot be permuted."""
    _, first, response = np.unique(sample_ids, return_index=True, return_inverse=True)
    advantage = advantages[first]
    if np.abs(advantages - advantage[response]).max() > 1e-6 * max(1.0, float(np.abs(advantages).max())):
        return "advantages differ within a response, so they cannot be permuted over responses"
    _, prompt = np.unique(prompt_ids[first], return_inverse=True)
    if np.bincount(prompt).max() < 2:
        return "no prompt has two responses, so there is nothing to permute"
    return Responses(logprobs, response, advantage, prompt)


def tail_statistics(covariance: Floats) -> Floats:
    """The values of `STATISTICS`, NaN where a tail is too small or not positive."""
    n = len(covariance)
    k = {f: top_count(f, n) for f in (0.02, 0.01, 0.002)}
    cut = max(n - max(k.values()) - 1, 0)
    top = np.sort(np.partition(covariance, cut)[cut:])[::-1]
    mass = float(np.maximum(covariance, 0.0).sum())
    sums = {f: float(top[: k[f]].sum()) for f in (0.02, 0.002)}
    return np.array(
        [
            float(covariance.mean()),
            sums[0.002] / k[0.002],
            sums[0.02] / k[0.02],
            float(np.maximum(top[: k[0.02]], 0).sum()) / mass if mass > 0 else np.nan,
            _index(top, k[0.01]),
            _index(top, k[0.002]),
        ]
    )


def _index(descending: Floats, k: int) -> float:
    if k < MIN_EXCEEDANCES or k >= len(descending) or descending[k] <= 0:
        return float("nan")
    return moment(np.log(descending[:k] / descending[k]))


def permutation_frame(
    batch: Responses,
    covariance: Floats,
    seed: int,
    level: float,
    tick: Callable[[], None] = lambda: None,
) -> pd.DataFrame:
    """One row a statistic: observed, mean and interval under permutation, p = (1 + #{T* >= T})/(B + 1)."""
    rng = np.random.default_rng(seed)
    observed = tail_statistics(covariance)
    rows = []
    for _ in range(PERMUTATIONS):
        rows.append(tail_statistics(batch.permuted(rng)))
        tick()
    drawn = np.array(rows)
    known = np.isfinite(observed) & np.isfinite(drawn).all(axis=0)
    tail = (1 - level) / 2
    low, high, mean, p = np.full((4, len(STATISTICS)), np.nan)
    if known.any():
        low[known], high[known] = np.quantile(drawn[:, known], [tail, 1 - tail], axis=0)
        mean[known] = drawn[:, known].mean(axis=0)
        p[known] = (1 + (drawn[:, known] >= observed[known]).sum(axis=0)) / (PERMUTATIONS + 1)
    columns = {"statistic": STATISTICS, "observed": observed, "permuted": mean}
    return pd.DataFrame(columns | {"permuted_low": low, "permuted_high": high, "p": p})
