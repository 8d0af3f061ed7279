"""Is the tail above a threshold a power law? Fit and curvature on log-log axes, with clusters.

Under a power law the logs l = ln(x/u) are exponential. Two tests of that: goodness of fit (the
Kolmogorov-Smirnov distance to the fitted exponential, its law simulated at the effective sample size), and
curvature mean(l²)/(2 mean(l)²): 1 for a power law, below 1 where the tail steepens like a lognormal or a
stretched exponential, which hold the power law as a limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cluster_bootstrap import Floats, cluster_error
from .power_law_ratio import LikelihoodRatio, tail_ratios

FIT_LEVEL = 0.1
"""A power law is not supported where the goodness-of-fit p is at or below this (arXiv 0706.1062)."""

CURVATURE_LEVEL = 0.05
"""A steeper alternative is favoured where the one-sided curvature p is below this."""

_SIMULATIONS = 199
_MAX_SIMULATED = 20_000


@dataclass(frozen=True)
class PowerLawCheck:
    """A power law S(x) ~ x^-exponent above `threshold`: fit, its p, curvature and its one-sided p.

    `ratios`: against exponential, Weibull, lognormal and truncated power law, by clusters.
    """

    threshold: float
    k: int
    k_effective: float
    exponent: float
    distance: float
    fit_p: float
    curvature: float
    curvature_p: float
    ratios: tuple[LikelihoodRatio, ...] = ()

    @property
    def favoured(self) -> tuple[str, ...]:
        """The shapes that a likelihood ratio favours over the power law."""
        return tuple(r.alternative for r in self.ratios if r.favours == r.alternative)

    @property
    def supported(self) -> bool:
        """Whether neither test speaks against a power law, and no other shape is favoured."""
        return self.fit_p > FIT_LEVEL and self.curvature_p >= CURVATURE_LEVEL and not self.favoured


def check_power_law(logs: Floats, codes: NDArray[np.intp], threshold: float, seed: int = 0) -> PowerLawCheck:
    """Test the logs ln(x/u) > 0, [k], of tokens in clusters `codes` [k] against an exponential."""
    effective = effective_size(logs - logs.mean(), codes)
    distance, curved = exponential_distance(logs), curvature(logs)
    fit_p, curvature_p = _simulated(distance, curved, effective, seed)
    exponent = 1 / float(logs.mean())
    tests = (distance, fit_p, curved, curvature_p, tail_ratios(np.exp(logs), codes))
    return PowerLawCheck(threshold, len(logs), effective, exponent, *tests)


def effective_size(influence: Floats, codes: NDArray[np.intp]) -> float:
    """Independent tokens worth as much as these, at most as many: k (token error / cluster error)²."""
    k = len(influence)
    _, local = np.unique(codes, return_inverse=True)
    clustered, alone = cluster_error(influence, local), cluster_error(influence, np.arange(k))
    return float(np.clip(k * (alone / clustered) ** 2, 2, k)) if clustered > 0 else float(k)


def exponential_distance(logs: Floats) -> float:
    """Kolmogorov-Smirnov distance of `logs` [k] to the exponential of the same mean."""
    ordered = np.sort(logs)
    fitted = -np.expm1(-ordered / ordered.mean())
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return float(max((fitted - steps[:-1]).max(), (steps[1:] - fitted).max()))


def curvature(logs: Floats) -> float:
    """mean(l²)/(2 mean(l)²), 1 for a power law."""
    return float((logs**2).mean() / (2 * logs.mean() ** 2))


def _simulated(distance: float, curved: float, effective: float, seed: int) -> tuple[float, float]:
    """p = (1 + #{at least as extreme})/(B + 1) of both, over exponential samples of the effective size.

    Beyond 20,000 the samples stay there and the deviations are scaled by the root of the size.
    """
    rng, size = np.random.default_rng(seed), min(round(effective), _MAX_SIMULATED)
    scale = np.sqrt(effective / size)
    samples = [rng.exponential(size=size) for _ in range(_SIMULATIONS)]
    larger = sum(exponential_distance(x) >= scale * distance for x in samples)
    steeper = sum(curvature(x) - 1 <= scale * (curved - 1) for x in samples)
    return (1 + larger) / (_SIMULATIONS + 1), (1 + steeper) / (_SIMULATIONS + 1)
