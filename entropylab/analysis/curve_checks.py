"""When the interval of a curve is withheld, and what a reader should be warned of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_STEPS = 12
MIN_RANGE = 0.1
MAX_EXTRAPOLATION = 2.0
CURVED = 0.01
"""p of the curvature below which the points are not this law's."""


@dataclass(frozen=True)
class Signs:
    """x [m] = exp(H) of the points as used, performance [m], and what the grid found.

    curvature_p and long_memory are None where the grid was not run. allows_memory: whether the method's
    interval allows for correlated noise, so that too long a memory decides over it.
    """

    x: np.ndarray
    performance: np.ndarray
    curvature_p: float | None = None
    long_memory: float | None = None
    allows_memory: bool = True

    def extrapolation(self) -> float:
        """(min x - 1) / range of x: how far H = 0 lies below the points, in their own ranges."""
        spread = float(np.ptp(self.x))
        return float(self.x.min() - 1.0) / spread if spread > 0 else np.inf

    def drifts(self, share: float) -> bool:
        """Whether more than this posterior share is on correlation times above a quarter of the run."""
        return self.long_memory is not None and self.long_memory > share

    def is_curved(self) -> bool:
        """Whether curvature is significant at 99 %."""
        return self.curvature_p is not None and self.curvature_p < CURVED


def data_refusals(signs: Signs) -> list[str]:
    """Reasons that the points themselves give; with one of these the grid is not run."""
    m, spread = len(signs.x), float(np.ptp(signs.x))
    reasons = []
    if m < MIN_STEPS:
        reasons.append(f"only {m} steps, an interval needs {MIN_STEPS}")
    if is_constant(signs.performance):
        reasons.append(f"performance is constant ({signs.performance[0]:g})")
    if spread < MIN_RANGE:
        reasons.append(f"exp(H) covers a range of {spread:.2g} only, an interval needs {MIN_RANGE:g}")
    return reasons


def fit_refusals(signs: Signs) -> list[str]:
    """Reasons that show once the curve is fitted."""
    reasons = []
    if signs.extrapolation() > MAX_EXTRAPOLATION:
        reasons.append(
            f"H = 0 lies {signs.extrapolation():.1f} times the range of exp(H) below the points, "
            f"at most {MAX_EXTRAPOLATION:g} is supported"
        )
    if signs.is_curved():
        reasons.append(f"performance is curved in exp(H) (p = {signs.curvature_p:.2g}): not this law")
    if signs.allows_memory and signs.drifts(0.5):
        reasons.append(
            f"the noise may drift: share {signs.long_memory:.2f} of the posterior has a correlation time "
            "above a quarter of the run"
        )
    return reasons


def form_band_stands(signs: Signs) -> bool:
    """Whether the form band can be shown although the law's interval cannot.

    It allows for a curve that is not the law; residuals of the wrong curve look like drift, so with curvature
    long memory does not count.
    """
    return signs.is_curved() and signs.extrapolation() <= MAX_EXTRAPOLATION


def warn_points(signs: Signs) -> list[str]:
    """Warnings short of a refusal."""
    warnings = []
    refused = signs.extrapolation() > MAX_EXTRAPOLATION and signs.curvature_p is not None
    if signs.extrapolation() > 1.0 and not refused:
        warnings.append(
            f"the ceiling is an extrapolation: H = 0 lies {signs.extrapolation():.1f} times the range of "
            "exp(H) below the points"
        )
    if signs.curvature_p is not None and CURVED <= signs.curvature_p < 0.05:
        warnings.append(
            f"performance looks curved in exp(H) (p = {signs.curvature_p:.2g}): see the form band"
        )
    if signs.drifts(0.3) and not (signs.allows_memory and signs.drifts(0.5)):
        warnings.append(
            f"the noise may drift (posterior share {signs.long_memory:.2f} above a quarter of the run): "
            "take a level of 0.99 (fit --level 0.99)"
        )
    return warnings


def warn_slope(a: float, interval: tuple[float, float] | None) -> list[str]:
    """A warning where the interval of a holds 0 or lies below it, or where a is negative without one."""
    if interval is None:
        told = f"a is negative ({a:.3g}, no interval): performance rises with entropy, unlike the law"
        return [told] if a < 0 else []
    if interval[0] > 0:
        return []
    low, high = interval
    if high < 0:
        return [f"a is negative ({low:.3g} to {high:.3g}): performance rises with entropy, unlike the law"]
    return [f"no relation shown: the interval of a, {low:.3g} to {high:.3g}, contains 0"]


def warn_independence(method: str, lag_one: float) -> list[str]:
    """A warning where the noise is autocorrelated and the method's interval does not allow for it."""
    if lag_one < 0.2:
        return []
    return [
        f"the interval of method {method!r} is too narrow: neighbouring steps are correlated "
        f"({lag_one:.2f}); take method='grid'"
    ]


def is_constant(values: np.ndarray) -> bool:
    """Whether the values differ by no more than rounding."""
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())
