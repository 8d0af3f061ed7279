"""A smooth trend through a series: Legendre polynomials in time, the degree chosen by AICc."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre

MAX_DEGREE = 8


@dataclass(frozen=True)
class Smoothing:
    """A fitted trend `values` [m] and the `degree` of its polynomial."""

    values: np.ndarray
    degree: int


def smooth(times: np.ndarray, values: np.ndarray, *, max_degree: int | None = None) -> Smoothing:
    """Least-squares projection on Legendre polynomials of degree 1 .. min(8, m/4), the smallest AICc.

    AICc = m ln(rss/m) + 2k + 2k(k+1)/(m-k-1), with k = degree + 2 (coefficients and variance).
    times and values [m], in any order; times need not be equally spaced.
    """
    times, values = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    m = len(values)
    top = max(1, min(MAX_DEGREE, m // 4)) if max_degree is None else max_degree
    basis = np.linalg.qr(legendre.legvander(_unit(times), top))[0]
    weights = basis.T @ values
    trends = np.cumsum(basis * weights, axis=1)[:, 1:]
    rss = ((values[:, None] - trends) ** 2).sum(axis=0)
    best = int(np.argmin(aicc(rss, m, np.arange(1, top + 1) + 2, scale=float(np.abs(values).max()))))
    return Smoothing(trends[:, best], best + 1)


def aicc(rss: np.ndarray, m: int, k: np.ndarray, *, scale: float) -> np.ndarray:
    """Akaike's criterion with the small-sample term; rss below the rounding error of `scale` counts as it.

    rss: residual sums of squares of m points, k: number of free parameters with the variance.
    Infinite where m - k - 1 < 1.
    """
    rounding = m * (8 * np.finfo(float).eps * scale) ** 2 + np.finfo(float).tiny
    left = m - k - 1
    correction = np.where(left >= 1, 2.0 * k * (k + 1) / np.maximum(left, 1), np.inf)
    return m * np.log(np.maximum(rss, rounding) / m) + 2.0 * k + correction


def _unit(times: np.ndarray) -> np.ndarray:
    low, high = times.min(), times.max()
    return (2.0 * times - low - high) / (high - low)
