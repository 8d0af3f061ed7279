"""A smooth trend through a series: Legendre polynomials in time, the degree chosen by AICc."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre

MAX_DEGREE = 8


@dataclass(frozen=True)
class Smoothing:
    """A fitted trend `values` [m], the degree of its polynomial and the clock it runs in, "t" or "log t"."""

    values: np.ndarray
    degree: int
    clock: str


def smooth(times: np.ndarray, values: np.ndarray) -> Smoothing:
    """Least-squares projection on Legendre polynomials of degree 1 .. min(8, m/4), the smallest AICc.

    AICc = m ln(rss/m) + 2k + 2k(k+1)/(m-k-1), with k = degree + 2 (coefficients and variance). Where the
    largest degree wins, the series may bend more than a polynomial can (an entropy that collapses at first
    and then crawls): polynomials in ln(1 + t), t in usual gaps from the first time, then compete.
    times and values [m], in any order; times need not be equally spaced.
    """
    times, values = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    best, score = _best_degree(times, values, "t")
    if best.degree < _top_degree(len(values)):
        return best
    other, other_score = _best_degree(_log_clock(times), values, "log t")
    return other if other_score < score else best


def usual_gap(times: np.ndarray) -> float:
    """The median positive difference of times."""
    gaps = np.diff(np.sort(times))
    return float(np.median(gaps[gaps > 0]))


def aicc(rss: np.ndarray, m: int, k: np.ndarray, *, scale: float) -> np.ndarray:
    """Akaike's criterion with the small-sample term; rss below the rounding error of `scale` counts as it.

    rss: residual sums of squares of m points, k: number of free parameters with the variance.
    Infinite where m - k - 1 < 1.
    """
    rounding = m * (8 * np.finfo(float).eps * scale) ** 2 + np.finfo(float).tiny
    left = m - k - 1
    correction = np.where(left >= 1, 2.0 * k * (k + 1) / np.maximum(left, 1), np.inf)
    return m * np.log(np.maximum(rss, rounding) / m) + 2.0 * k + correction


def _best_degree(clock: np.ndarray, values: np.ndarray, name: str) -> tuple[Smoothing, float]:
    m = len(values)
    degrees = np.arange(1, _top_degree(m) + 1)
    basis = np.linalg.qr(legendre.legvander(_unit(clock), degrees[-1]))[0]
    trends = np.cumsum(basis * (basis.T @ values), axis=1)[:, 1:]
    rss = ((values[:, None] - trends) ** 2).sum(axis=0)
    scores = aicc(rss, m, degrees + 2, scale=float(np.abs(values).max()))
    best = int(np.argmin(scores))
    return Smoothing(trends[:, best], int(degrees[best]), name), float(scores[best])


def _top_degree(m: int) -> int:
    return max(1, min(MAX_DEGREE, m // 4))


def _log_clock(times: np.ndarray) -> np.ndarray:
    return np.log1p((times - times.min()) / usual_gap(times))


def _unit(clock: np.ndarray) -> np.ndarray:
    low, high = clock.min(), clock.max()
    return (2.0 * clock - low - high) / (high - low)
