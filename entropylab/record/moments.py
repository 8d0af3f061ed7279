"""Moments up to the fourth that merge exactly: count, mean, and sums of centred powers, in float64."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np

_BLOCK = 1 << 15
"""Values that are worked on at one time."""


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
        x = np.asarray(values).ravel()
        x = x if x.dtype.kind == "f" else x.astype(np.float64)
        if x.size == 0:
            return cls()
        with np.errstate(invalid="ignore", over="ignore"):
            mean = float(x.mean(dtype=np.float64))
        if not math.isfinite(mean):
            finite = np.isfinite(x)
            return cls._centred(x, mean) if finite.all() else cls.of(x[finite])
        return cls._centred(x, mean)

    @classmethod
    def _centred(cls, x: np.ndarray, mean: float) -> Moments:
        """Σ (x - mean)ᵖ in blocks that stay in the processor's cache."""
        sums = np.zeros((-(-x.size // _BLOCK), 3))
        memory = np.empty((2, min(_BLOCK, x.size)))
        for i, total in enumerate(sums):
            block = x[i * _BLOCK : (i + 1) * _BLOCK]
            d, d2 = memory[:, : block.size]
            np.subtract(block, mean, out=d, dtype=np.float64)
            np.multiply(d, d, out=d2)
            total[0] = d2.sum()
            total[1] = np.multiply(d2, d, out=d).sum()
            total[2] = np.multiply(d2, d2, out=d2).sum()
        return cls(x.size, mean, *sums.sum(axis=0).tolist())

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
