"""Mixtures of Student-t distributions: distribution function, moments and quantiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, stdtr, stdtrit

NEGLIGIBLE = 1e-13
_CLOSE = 1e-7  # a Newton step this small, in scales, leaves an error of its square
_TINY = np.finfo(float).tiny


@dataclass(frozen=True)
class StudentMixture:
    """K mixtures of t distributions with the same component weights.

    weights [C] (sum 1), location [K, C], scale [K, C], degrees of freedom nu.
    """

    weights: np.ndarray
    location: np.ndarray
    scale: np.ndarray
    nu: float

    def mean(self) -> np.ndarray:
        """Means [K]."""
        return self.location @ self.weights

    def standard_error(self) -> np.ndarray:
        """Root of the mean squared scale plus the spread of the locations [K]; of one component its scale."""
        spread = (self.location - self.mean()[:, None]) ** 2
        return np.sqrt((self.scale**2 + spread) @ self.weights)

    def cdf(self, x: np.ndarray) -> np.ndarray:
        """P(value <= x) [K] at one x a mixture, x [K]."""
        z = (np.asarray(x, dtype=float)[:, None] - self.location) / np.maximum(self.scale, _TINY)
        return stdtr(self.nu, z) @ self.weights

    def quantile(self, p: float | np.ndarray) -> np.ndarray:
        """Quantiles [K] of probability p, one or [K]: bisection hastened by Newton steps."""
        kept = self._without_negligible()
        ends = kept.location + kept.scale * np.reshape(stdtrit(self.nu, p), (-1, 1))
        low, high = ends.min(axis=1), ends.max(axis=1)
        x = ends @ kept.weights
        rounding = 4.0 * np.finfo(float).eps * np.maximum(np.abs(low), np.abs(high))
        close = np.maximum(_CLOSE * kept.scale.min(axis=1), rounding)
        for _ in range(200):
            excess = kept.cdf(x) - p
            low, high = np.where(excess < 0, x, low), np.where(excess < 0, high, x)
            step = np.divide(excess, kept._density(x), out=np.full_like(x, np.inf), where=excess != 0)
            newton = x - np.where(excess == 0, 0.0, step)
            inside = (newton >= low) & (newton <= high)
            new = np.where(inside, newton, 0.5 * (low + high))
            done = np.abs(new - x) <= np.where(inside, close, rounding)
            x = new
            if done.all():
                break
        return x

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Equal-tailed interval: the quantiles (1 - level)/2 and (1 + level)/2, each [K]."""
        both = StudentMixture(
            self.weights, np.tile(self.location, (2, 1)), np.tile(self.scale, (2, 1)), self.nu
        )
        k = len(self.location)
        ends = both.quantile(np.repeat([0.5 * (1.0 - level), 0.5 * (1.0 + level)], k))
        return ends[:k], ends[k:]

    def _density(self, x: np.ndarray) -> np.ndarray:
        nu = self.nu
        norm = np.exp(gammaln(0.5 * (nu + 1)) - gammaln(0.5 * nu)) / np.sqrt(nu * np.pi)
        scale = np.maximum(self.scale, _TINY)
        z = (x[:, None] - self.location) / scale
        with np.errstate(over="ignore"):
            body = np.exp(-0.5 * (nu + 1) * np.log1p(z * z / nu)) / scale
        return np.maximum(norm * (body @ self.weights), _TINY)

    def _without_negligible(self) -> StudentMixture:
        kept = self.weights > NEGLIGIBLE
        weights = self.weights[kept]
        return StudentMixture(weights / weights.sum(), self.location[:, kept], self.scale[:, kept], self.nu)


def join(mixtures: list[StudentMixture], shares: np.ndarray) -> StudentMixture:
    """One mixture of several over the same K values, with their shares (sum 1)."""
    return StudentMixture(
        np.concatenate([share * each.weights for share, each in zip(shares, mixtures, strict=True)]),
        np.concatenate([each.location for each in mixtures], axis=1),
        np.concatenate([each.scale for each in mixtures], axis=1),
        mixtures[0].nu,
    )
