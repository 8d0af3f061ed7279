"""Which entropies a curve is fitted on: their trend over the steps, or those given."""

from __future__ import annotations

import numpy as np

from .curve_lines import ols_line
from .curve_points import Points
from .smoothing import Smoothing, smooth

_REAL_JITTER = 4.0


def entropy_trend(points: Points) -> Smoothing | None:
    """The entropy's trend, or None where its jitter is real: the points then follow it far more closely.

    Measurement noise in H flattens the line; smoothing removes it. A residual variance on the entropies as
    given below a quarter of that on their trend does not come from noise.
    """
    trend = smooth(points.steps, points.entropy)
    given, smoothed = (_rss(h, points.performance) for h in (points.entropy, trend.values))
    return None if _REAL_JITTER * given < smoothed else trend


def _rss(entropy: np.ndarray, performance: np.ndarray) -> float:
    line = ols_line(np.expm1(entropy), performance)
    return float(line.sigma2[0]) * line.nu
