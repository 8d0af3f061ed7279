"""One fit of a power law to sorted values: what the front door and its bootstrap share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InsufficientDataError
from .hurwitz import log_zeta
from .power_law_discrete import DiscreteTails, discrete_exponents
from .power_law_scan import ContinuousTails, Floats, scan


@dataclass(frozen=True)
class FitSettings:
    """How to fit; xmin None: the one of the smallest distance."""

    discrete: bool
    xmin: float | None


@dataclass(frozen=True)
class Fitted:
    """Exponent, threshold, values at or above it, Kolmogorov-Smirnov distance."""

    alpha: float
    xmin: float
    n_tail: int
    ks: float


def fit_ordered(ordered: Floats, settings: FitSettings) -> Fitted:
    """Fit ascending positive values [n]; raises InsufficientDataError for a tail of one size."""
    if settings.xmin is not None:
        return _fit_above(ordered[ordered >= settings.xmin], settings.xmin, settings.discrete)
    if ordered[0] == ordered[-1]:
        raise InsufficientDataError(f"all values are {ordered[0]:g}: a tail needs two sizes")
    tails: ContinuousTails | DiscreteTails
    if settings.discrete:
        tails = DiscreteTails.of(ordered)
        thresholds = tails.values
    else:
        tails = ContinuousTails.of(ordered)
        thresholds = ordered[tails.starts]
    best = scan(tails)
    return Fitted(
        float(tails.exponents[best.candidate]),
        float(thresholds[best.candidate]),
        int(tails.sizes[best.candidate]),
        best.distance,
    )


def _fit_above(tail: Floats, xmin: float, discrete: bool) -> Fitted:
    """The fit at a given threshold, which need not be a value."""
    n = len(tail)
    mean_log = float(np.log(tail / xmin).mean()) if n else 0.0
    if n < 2 or mean_log <= 0:
        raise InsufficientDataError(f"{n} values lie above xmin = {xmin:g}, and none of another size")
    if not discrete:
        alpha = 1.0 + 1.0 / mean_log
        gap = np.abs(np.arange(n) / n - 1.0 + (tail / xmin) ** (1.0 - alpha)).max()
        return Fitted(alpha, xmin, n, float(gap))
    start = np.array([float(np.ceil(xmin))])
    alpha = float(discrete_exponents(np.array([np.log(tail).mean()]), start)[0])
    values, below = np.unique(tail, return_index=True)
    seen = np.append(below[1:], n) / n
    fitted, before = (-np.expm1(log_zeta(alpha, v) - log_zeta(alpha, start)) for v in (values + 1.0, values))
    gap = max(np.abs(seen - fitted).max(), np.abs(below / n - before).max())
    return Fitted(alpha, float(start[0]), n, float(gap))
