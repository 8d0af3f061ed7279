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
from scipy.stats import norm

from .cluster_bootstrap import Floats, cluster_error

FIT_LEVEL = 0.1
"""A power law is not supported where the goodness-of-fit p is at or below this (arXiv 0706.1062)."""

CURVATURE_LEVEL = 0.05
"""A steeper alternative is favoured where the one-sided curvature p is below this."""

_SIMULATIONS = 199
_MAX_SIMULATED = 20_000


@dataclass(frozen=True)
class PowerLawCheck:
    """A power law S(x) ~ x^-exponent above `threshold`: fit, its p, curvature and its one-sided p."""

    threshold: float
    k: int
    k_effective: float
    exponent: float
    distance: float
    fit_p: float
    curvature: float
    curvature_p: float

    @property
    def supported(self) -> bool:
        """Whether neither test speaks against a power law."""
        return self.fit_p > FIT_LEVEL and self.curvature_p >= CURVATURE_LEVEL


def check_power_law(logs: Floats, codes: NDArray[np.intp], threshold: float, seed: int = 0) -> PowerLawCheck:
    """Test the logs ln(x/u) > 0, [k], of tokens in clusters `codes` [k] against an exponential."""
    k, scale = len(logs), float(logs.mean())
    _, local = np.unique(codes, return_inverse=True)
    error = cluster_error(logs - scale, local)
    effective = float(np.clip((scale / error) ** 2, 2, k)) if error > 0 else float(k)
    distance = exponential_distance(logs)
    curvature, curvature_p = curvature_test(logs, local)
    fit_p = fit_probability(distance, round(effective), seed)
    return PowerLawCheck(threshold, k, effective, 1 / scale, distance, fit_p, curvature, curvature_p)


def exponential_distance(logs: Floats) -> float:
    """Kolmogorov-Smirnov distance of `logs` [k] to the exponential of the same mean."""
    ordered = np.sort(logs)
    fitted = -np.expm1(-ordered / ordered.mean())
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return float(max((fitted - steps[:-1]).max(), (steps[1:] - fitted).max()))


def fit_probability(distance: float, k: int, seed: int = 0) -> float:
    """p = (1 + #{D* >= D})/(B + 1) of the distance, over simulated exponential samples of size k."""
    rng, size = np.random.default_rng(seed), min(k, _MAX_SIMULATED)
    scaled = distance * np.sqrt(k / size)
    larger = sum(exponential_distance(rng.exponential(size=size)) >= scaled for _ in range(_SIMULATIONS))
    return (1 + larger) / (_SIMULATIONS + 1)


def curvature_test(logs: Floats, codes: NDArray[np.intp]) -> tuple[float, float]:
    """(mean(l²)/(2 mean(l)²), one-sided p that it is 1 or more), its error by clusters (delta method)."""
    first, second = logs.mean(), (logs**2).mean()
    value = second / (2 * first**2)
    error = value * cluster_error(logs**2 / second - 2 * logs / first + 1, codes)
    return float(value), float(norm.cdf((value - 1) / error)) if error > 0 else 0.5
