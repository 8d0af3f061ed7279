"""Moments up to the fourth that merge exactly: count, mean, and sums of centred powers, in float64."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np


@dataclass(frozen=True)
class Moments:
    """n, mean and mₚ = Σ (xᵢ - mean)ᵖ for p = 2, 3, 4."""

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0
    m3: float = 0.0
    m4: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Moments of the finite values of an array, in two passes."""
        x = np.asarray(values, dtype=np.float64).ravel()
        x = x[np.isfinite(x)]
        if x.size == 0:
            return cls()
        mean = float(x.mean())
        d = x - mean
        d2 = d * d
        return cls(x.size, mean, float(d2.sum()), float((d2 * d).sum()), float((d2 * d2).sum()))

    @property
    def variance(self) -> float | None:
        """Variance of the population, m₂ / n."""
        return self.m2 / self.n if self.n else None

    @property
    def std(self) -> float | None:
        """Standard deviation of the population, √(m₂ / n)."""
        return math.sqrt(self.m2 / self.n) if self.n else None

    @property
    def skew(self) -> float | None:
        """√n · m₃ / m₂^1.5; None where all values are equal."""
        return math.sqrt(self.n) * self.m3 / self.m2**1.5 if self._varies() else None

    @property
    def kurtosis(self) -> float | None:
        """Excess kurtosis n · m₄ / m₂² - 3; None where all values are equal."""
        return self.n * self.m4 / self.m2**2 - 3.0 if self._varies() else None

    def _varies(self) -> bool:
        rounding = 4.0 * sys.float_info.epsilon * abs(self.mean)
        return self.n > 0 and self.m2 > self.n * rounding**2 and self.m2**2 > 0.0

    def merge(self, other: Moments) -> Moments:
        """Moments of the union of two disjoint samples (Pébay 2008, SAND2008-6212, eqs. 2.1 and 3.1)."""
        if self.n == 0 or other.n == 0:
            return other if self.n == 0 else self
        na, nb = self.n, other.n
        n = na + nb
        d = other.mean - self.mean
        m2 = self.m2 + other.m2 + d**2 * na * nb / n
        m3 = self.m3 + other.m3 + d**3 * na * nb * (na - nb) / n**2
        m3 += 3.0 * d * (na * other.m2 - nb * self.m2) / n
        m4 = self.m4 + other.m4 + d**4 * na * nb * (na**2 - na * nb + nb**2) / n**3
        m4 += 6.0 * d**2 * (na**2 * other.m2 + nb**2 * self.m2) / n**2
        m4 += 4.0 * d * (na * other.m3 - nb * self.m3) / n
        return Moments(n, self.mean + d * nb / n, m2, m3, m4)

    def to_list(self) -> list[float]:
        """[n, mean, m2, m3, m4], for JSON."""
        return list(astuple(self))


def merge_moments(parts: Iterable[Moments]) -> Moments:
    """Moments of the union of disjoint samples."""
    total = Moments()
    for part in parts:
        total = total.merge(part)
    return total
