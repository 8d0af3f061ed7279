"""Power laws of whole numbers: p(x) = x^-alpha / zeta(alpha, xmin) (arXiv 0706.1062, table 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .hurwitz import log_zeta
from .power_law_scan import Floats, Places

LEAST, MOST = 1.0 + 1e-6, 100.0
"""Exponents that are looked for."""
_STEP = 1e-5
_CLOSE = 1e-9


def discrete_exponents(mean_log: Floats, xmin: Floats) -> Floats:
    """Maximum-likelihood alpha, [C]: the minimum of ln zeta(alpha, xmin) + alpha · mean ln x, a convex cost.

    Newton's steps on the slope, by central differences, kept inside a bracket that each step narrows.
    """
    low, high = np.full_like(mean_log, LEAST), np.full_like(mean_log, MOST)
    alpha = np.clip(1.0 + 1.0 / np.maximum(mean_log - np.log(xmin - 0.5), 1e-3), LEAST + 1e-3, MOST)
    for _ in range(100):
        left, middle, right = (log_zeta(alpha + s, xmin) for s in (-_STEP, 0.0, _STEP))
        slope = (right - left) / (2 * _STEP) + mean_log
        bend = np.maximum((right - 2 * middle + left) / _STEP**2, 1e-12)
        low, high = np.where(slope < 0, alpha, low), np.where(slope < 0, high, alpha)
        newton = alpha - slope / bend
        inside = (newton > low) & (newton < high)
        moved = np.where(inside, newton, 0.5 * (low + high))
        done = np.abs(moved - alpha) <= _CLOSE * alpha
        alpha = moved
        if done.all():
            break
    return alpha


@dataclass(frozen=True)
class DiscreteTails:
    """Tails of a discrete power law; the distance is over all whole numbers from xmin to the largest value.

    Between two values that occur the empirical distribution is flat and the fitted one rises, so the largest
    gap is at a value or just before the next one: two places for each of the U distinct values.
    """

    values: Floats
    """Distinct values ascending, [U]."""
    below: Places
    """Values smaller than each of them, [U]."""
    sizes: Places
    """Of each candidate, [C]; candidates are the first C of ``values``."""
    exponents: Floats
    totals: Floats
    """ln zeta(alpha, xmin) of each candidate, [C]."""

    @classmethod
    def of(cls, ordered: Floats) -> DiscreteTails:
        """From the values ascending, [n]; every distinct one but the largest is a candidate."""
        values, first = np.unique(ordered, return_index=True)
        suffix = np.cumsum(np.log(ordered)[::-1])[::-1]
        starts = first[:-1]
        sizes = len(ordered) - starts
        exponents = discrete_exponents(suffix[starts] / sizes, values[:-1])
        return cls(values, first, sizes, exponents, log_zeta(exponents, values[:-1]))

    def distance(self, candidate: int) -> tuple[float, float]:
        """(distance, the place where it is reached: twice the number of a value, 1 more just before it)."""
        at, before = (self._gaps(x, seen, candidate) for x, seen in self._places(candidate))
        k = (int(at.argmax()), int(before.argmax()))
        if at[k[0]] >= before[k[1]]:
            return float(at[k[0]]), 2.0 * (candidate + k[0])
        return float(before[k[1]]), 2.0 * (candidate + k[1]) + 1.0

    def at(self, place: float, candidates: Places | slice) -> Floats:
        """The distance of some candidates at one place, [c]."""
        number, just_before = divmod(int(place), 2)
        chosen = np.arange(len(self.sizes))[candidates]
        x = self.values[number] - just_before
        seen = self.below[number] if just_before else self._up_to(number)
        start = self.below[chosen]
        fitted = -np.expm1(log_zeta(self.exponents[chosen], x + 1.0) - self.totals[chosen])
        gap = np.abs((seen - start) / self.sizes[chosen] - fitted)
        return np.where(chosen + just_before <= number, gap, 0.0)

    def _up_to(self, number: int) -> int:
        n = int(self.below[0] + self.sizes[0])
        return int(self.below[number + 1]) if number + 1 < len(self.below) else n

    def _places(self, candidate: int) -> list[tuple[Floats, Places]]:
        """(x, values up to it): at the distinct values, and just before each."""
        values, below = self.values[candidate:], self.below[candidate:]
        n = below[0] + self.sizes[candidate]
        return [(values, np.append(below[1:], n)), (values - 1.0, below)]

    def _gaps(self, x: Floats, seen: Places, candidate: int) -> Floats:
        fitted = -np.expm1(log_zeta(self.exponents[candidate], x + 1.0) - self.totals[candidate])
        return np.abs((seen - self.below[candidate]) / self.sizes[candidate] - fitted)
