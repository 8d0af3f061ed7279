"""A straight line through a series of autocorrelated points, with an interval that allows for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from .cluster_bootstrap import Floats

MIN_BLOCKS = 12
"""Fewest points from which a line has an interval."""


@dataclass(frozen=True)
class RobustLine:
    """y = intercept + slope x, n points. low, high, p: of the slope, with nu degrees; r: correlation."""

    slope: float
    low: float
    high: float
    p: float
    intercept: float
    r: float
    n: int
    nu: int


def robust_line(x: Floats, y: Floats, level: float = 0.95) -> RobustLine:
    """Least squares of y [n] on x [n], both in order of time.

    The long-run variance of the scores is that of nu = 0.4 n^(2/3) cosines, each weighing the same, and the
    slope over its error is then Student's t with nu degrees (Lazarus, Lewis, Stock and Watson 2018): no lag
    to choose, and a size that holds where neighbours are correlated. NaN where x or y does not vary, or where
    there are fewer than 12 points.
    """
    n = len(x)
    nu = max(2, int(0.4 * n ** (2 / 3)))
    if n < MIN_BLOCKS or not (np.ptp(x) > 0 and np.ptp(y) > 0):
        nan = float("nan")
        return RobustLine(nan, nan, nan, nan, nan, nan, n, nu)
    u, v = x - x.mean(), y - y.mean()
    slope = float(u @ v / (u @ u))
    scores = u * (v - slope * u)
    time = (np.arange(n) + 0.5) / n
    waves = np.sqrt(2 / n) * np.cos(np.pi * np.outer(np.arange(1, nu + 1), time))
    error = np.sqrt(n * np.mean((waves @ scores) ** 2)) / float(u @ u)
    half = float(student.ppf((1 + level) / 2, nu) * error)
    p = float(2 * student.sf(abs(slope) / error, nu)) if error > 0 else 0.0
    r = float(u @ v / np.sqrt((u @ u) * (v @ v)))
    return RobustLine(slope, slope - half, slope + half, p, float(y.mean() - slope * x.mean()), r, n, nu)
