"""The exact scan for xmin: the threshold at which a power law lies closest to the data.

Every distinct value is a candidate. About fifty of them, spaced evenly in the logarithm of the tail's size,
are evaluated in full. The place at which a candidate's distance is largest is a witness: there the gap of any
other candidate can be read off at once, and its distance is no smaller. A candidate whose bound lies above
the best distance is out: most are by the witnesses next to them, the others meet all witnesses; the most
promising of what is left is evaluated in full, and gives a new witness.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

FIRST_LOOK = 48
"""Candidates that are evaluated before any is rejected."""
_ROUNDING = 1e-12


class Tails(Protocol):
    """The tails from each of C candidates on."""

    @property
    def sizes(self) -> Places:
        """Values from each candidate on, [C]."""
        ...

    def distance(self, candidate: int) -> tuple[float, float]:
        """(Kolmogorov-Smirnov distance of one candidate, the place where it is reached)."""
        ...

    def at(self, place: float, candidates: Places | slice) -> Floats:
        """The distance of some candidates at one place, [c]; 0 for those above it."""
        ...


@dataclass(frozen=True)
class Scanned:
    """The best candidate, its distance, and how many were evaluated in full."""

    candidate: int
    distance: float
    evaluated: int


def scan(tails: Tails) -> Scanned:
    """The candidate of the smallest distance, of equal ones the lowest; exact."""
    looks = _first_look(tails.sizes)
    found, witnesses = {}, []
    for candidate in looks:
        found[candidate], place = tails.distance(candidate)
        witnesses.append(place)
    best = min(found.values())
    left = _near_survivors(tails, looks, witnesses, best + _ROUNDING)
    left = left[~np.isin(left, looks)]
    bound = np.zeros(len(left))
    while len(left):
        while witnesses:
            np.maximum(bound, tails.at(witnesses.pop(), left), out=bound)
            kept = bound <= best + _ROUNDING
            left, bound = left[kept], bound[kept]
        if not len(left):
            break
        lowest = int(bound.argmin())
        candidate = int(left[lowest])
        found[candidate], place = tails.distance(candidate)
        best = min(best, found[candidate])
        witnesses.append(place)
        left, bound = np.delete(left, lowest), np.delete(bound, lowest)
    return Scanned(min(c for c, d in found.items() if d == best), best, len(found))


def _near_survivors(tails: Tails, looks: list[int], witnesses: list[float], limit: float) -> Places:
    """Candidates that the witnesses of the looks around them do not reject; the others need no more."""
    edges = [0, *looks[1:], len(tails.sizes)]
    kept = []
    for i, (start, stop) in enumerate(pairwise(edges)):
        bound = np.zeros(stop - start)
        for place in set(witnesses[max(i - 1, 0) : i + 3]):
            np.maximum(bound, tails.at(place, slice(start, stop)), out=bound)
        kept.append(start + np.flatnonzero(bound <= limit))
    return np.concatenate(kept)


def _first_look(sizes: Places) -> list[int]:
    """Candidates whose tails are spaced evenly in the logarithm of their size."""
    wanted = np.geomspace(sizes[0], sizes[-1], FIRST_LOOK)
    places = np.searchsorted(-sizes, -wanted, side="left").clip(max=len(sizes) - 1)
    return np.unique(places).tolist()


@dataclass(frozen=True)
class ContinuousTails:
    """Tails of a continuous power law: S(x) = (x/xmin)^(1 - alpha), alpha = 1 + n/Σ ln(x/xmin).

    The distance is taken to the left limit 0, 1/n ... (n-1)/n of the sorted values (arXiv 0706.1062).
    """

    logs: Floats
    """ln x, ascending, [n]."""
    starts: Places
    """Place of the first value of each candidate's tail, [C]."""
    start_logs: Floats
    """ln x there, [C]."""
    sizes: Places
    exponents: Floats

    @classmethod
    def of(cls, ordered: Floats) -> ContinuousTails:
        """From the values ascending, [n]; every distinct one but the largest is a candidate."""
        logs = np.log(ordered)
        starts = np.flatnonzero(np.concatenate(([True], ordered[1:] > ordered[:-1])))
        suffix = np.cumsum(logs[::-1])[::-1]
        sizes = len(logs) - starts
        sums = suffix[starts] - sizes * logs[starts]
        kept = (ordered[starts] < ordered[-1]) & (sums > 0)
        starts, sizes, sums = starts[kept], sizes[kept], sums[kept]
        return cls(logs, starts, logs[starts], sizes, 1.0 + sizes / sums)

    def distance(self, candidate: int) -> tuple[float, float]:
        """(distance, the place in the sorted values where it is reached)."""
        start, n = self.starts[candidate], self.sizes[candidate]
        gap = np.arange(n) / n - 1.0
        gap += np.exp((1.0 - self.exponents[candidate]) * (self.logs[start:] - self.logs[start]))
        np.abs(gap, out=gap)
        worst = int(gap.argmax())
        return float(gap[worst]), float(start + worst)

    def at(self, place: float, candidates: Places | slice) -> Floats:
        """The distance of some candidates at one place of the sorted values, [c]."""
        j, starts = int(place), self.starts[candidates]
        rises = np.maximum(self.logs[j] - self.start_logs[candidates], 0.0)
        fitted = np.exp((1.0 - self.exponents[candidates]) * rises)
        gap = np.abs((j - starts) / self.sizes[candidates] - 1.0 + fitted)
        return np.where(starts <= j, gap, 0.0)
