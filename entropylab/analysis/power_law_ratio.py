"""Likelihood ratios of a power law against other shapes of the same tail, by clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from .jsonable import jsonable
from .power_law_scan import Floats
from .power_law_shapes import LIMITED, NESTED, SHAPES, Shape, power_law

LEVEL = 0.1
"""Two-sided p of a likelihood ratio at which it favours a side."""


@dataclass(frozen=True)
class LikelihoodRatio:
    """A power law against another shape on the same tail.

    ratio: Σ (ln p_power - ln p_other) over its standard deviation, by whole clusters where those are given
    (Vuong 1989); total: the sum itself. p, two-sided: of the ratio; for a shape that holds the power law as a
    special case, of 2·total by chi-squared with 1 degree. favours: "power_law", the other's name, or
    "neither" where p is above 0.1, or where a shape that holds the power law as a limit gains no more than an
    idle parameter would (2·total, chi-squared, above 0.1). parameters: the other's, in units of xmin.
    """

    alternative: str
    ratio: float
    total: float
    p: float
    favours: str
    parameters: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return jsonable(vars(self))


def likelihood_ratio(
    name: str, plain: Shape, other: Shape, codes: NDArray[np.intp] | None = None
) -> LikelihoodRatio:
    """The ratio of a power law (``plain``) against another shape, of the same n values in the same order.

    codes [n]: the cluster of each value; None: every value for itself. The gain of an idle parameter grows
    with the clusters' design effect (variance of the sum by clusters over that of independent values).
    """
    gaps = plain.log_density - other.log_density
    total, alone = float(gaps.sum()), _spread(gaps, None)
    spread = _spread(gaps, codes)
    ratio = total / spread if spread > 0 else 0.0
    design = max((spread / alone) ** 2, 1.0) if alone > 0 else 1.0
    by_chance = float(chi2.sf(2 * abs(total) / design, 1))
    p = by_chance if name in NESTED else float(2 * norm.sf(abs(ratio)))
    told = p <= LEVEL and (name not in LIMITED or by_chance <= LEVEL)
    side = "power_law" if total > 0 else name
    return LikelihoodRatio(name, ratio, total, p, side if told else "neither", other.parameters)


def tail_ratios(v: Floats, codes: NDArray[np.intp]) -> tuple[LikelihoodRatio, ...]:
    """Every alternative on a tail v = x/xmin >= 1, [n], of clusters ``codes`` [n]."""
    plain = power_law(v)
    return tuple(likelihood_ratio(name, plain, fit(v), codes) for name, fit in SHAPES.items())


def _spread(gaps: Floats, codes: NDArray[np.intp] | None) -> float:
    """Standard deviation of the sum of the gaps, of independent values or of whole clusters."""
    centred = gaps - gaps.mean()
    if codes is None:
        return float(np.sqrt((centred**2).sum()))
    _, local = np.unique(codes, return_inverse=True)
    sums = np.bincount(local, centred)
    count = len(sums)
    return float(np.sqrt(count / (count - 1) * (sums**2).sum())) if count > 1 else 0.0
