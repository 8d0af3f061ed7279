"""Quadrants: log-probability above or below its mean x advantage above or below its mean."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..schema import QUADRANTS
from .cluster_bootstrap import Floats


def quadrant_codes(logprobs: Floats, advantages: Floats) -> NDArray[np.intp]:
    """Place of each token in `schema.QUADRANTS`, [n], from centred values; at the mean counts as above."""
    return (2 * (logprobs < 0) + (advantages < 0)).astype(np.intp)


def quadrant_table(
    covariance: Floats,
    codes: NDArray[np.intp],
    sets: Mapping[str, NDArray | slice],
    weights: Floats | None = None,
) -> pd.DataFrame:
    """Counts, shares, masses (nats x advantage) and mean covariance of the quadrants of each set of tokens.

    `sets` maps a name to a boolean mask or indices [n]. An empty quadrant has no mean (NaN). With `weights`
    [n], the tokens each row stands for, counts are estimates.
    """
    w = np.ones(len(covariance)) if weights is None else weights
    sums = {}
    for name, chosen in sets.items():
        count = np.bincount(codes[chosen], w[chosen], minlength=len(QUADRANTS))
        mass = np.bincount(codes[chosen], w[chosen] * covariance[chosen], minlength=len(QUADRANTS))
        sums[name] = count, mass
    return quadrant_frame(sums)


def quadrant_frame(sums: Mapping[str, tuple[NDArray, NDArray]]) -> pd.DataFrame:
    """`quadrant_table` from the count and the mass of the quadrants of each set, [4] each."""
    rows = []
    for name, (count, mass) in sums.items():
        for quadrant, tokens, total in zip(QUADRANTS, count, mass, strict=True):
            share = tokens / count.sum() if count.sum() else np.nan
            mean = total / tokens if tokens else np.nan
            rows.append((name, quadrant, round(tokens), share, total, mean))
    columns = ["set", "quadrant", "count", "share", "mass", "mean_covariance"]
    return pd.DataFrame(rows, columns=columns)
