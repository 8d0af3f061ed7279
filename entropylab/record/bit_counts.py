"""Exact order statistics of fp32 values from counts that merge.

Ordered as the values are, the bits of an fp32 value have an upper and a lower half of 16. Values of one upper
half share sign and exponent, so they are whole multiples of one unit, and their sum in fp64 is exact (up to
2**29 of them): no result rests on the order of the values or on how they were split.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np

HALVES = 1 << 16
"""How many values a half of the bits has."""

_SMALLEST = 149
"""2**-149 is the smallest positive fp32 value; every other is a whole multiple of it."""

_FIRST_FINITE, _FIRST_INFINITE = 0x0080, 0xFF80


def ordered_bits(values: np.ndarray) -> np.ndarray:
    """uint32 that order as the fp32 values do, -0 as 0; NaN at both ends."""
    bits = np.add(values, 0.0, dtype=np.float32).view(np.uint32)
    flip = (bits.view(np.int32) >> 31).view(np.uint32) | np.uint32(0x80000000)
    return bits ^ flip


def values_of(upper: np.ndarray | int, lower: np.ndarray | int) -> np.ndarray:
    """The values in float64 of upper and lower halves."""
    ordered = (np.asarray(upper, np.uint32) << np.uint32(16)) | np.asarray(lower, np.uint32)
    positive = ordered >= np.uint32(0x80000000)
    bits = np.where(positive, ordered ^ np.uint32(0x80000000), ~ordered)
    return bits.view(np.float32).astype(np.float64)


@dataclass(frozen=True, eq=False)
class UpperCounts:
    """How many values have each upper half [65536], ascending, and the sum of those."""

    count: np.ndarray
    total: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, bits: np.ndarray) -> UpperCounts:
        """Of values and their `ordered_bits`."""
        upper = bits >> np.uint32(16)
        count = np.bincount(upper, minlength=HALVES)
        with np.errstate(invalid="ignore"):
            return cls(count, np.bincount(upper, weights=values, minlength=HALVES))

    @property
    def n(self) -> int:
        """Number of values."""
        return int(self.count.sum())

    @property
    def finite(self) -> bool:
        """Whether there is neither NaN nor infinity."""
        return not (self.count[:_FIRST_FINITE].any() or self.count[_FIRST_INFINITE:].any())

    def merge(self, other: UpperCounts) -> UpperCounts:
        """Of the union of two disjoint sets."""
        return UpperCounts(self.count + other.count, self.total + other.total)

    def place(self, k: int) -> tuple[int, int]:
        """The upper half of the k-th highest value, 1 <= k <= n, and how many of the k highest have it."""
        above = np.cumsum(self.count[::-1])
        index = int(np.searchsorted(above, k))
        return HALVES - 1 - index, k - int(above[index] - self.count[::-1][index])

    def undecided(self, counts: Iterable[int]) -> set[int]:
        """The upper halves whose lower ones must be counted to know the k highest for every k."""
        places = (self.place(k) for k in counts)
        return {upper for upper, rest in places if rest < self.count[upper]}


LowerCounts = Mapping[int, np.ndarray]
"""By upper half: how many values have each lower half, int64 [65536], ascending."""


def lower_counts(bits: np.ndarray, uppers: Iterable[int]) -> LowerCounts:
    """Lower halves of the values with given upper halves, from `ordered_bits`."""
    found = {}
    for upper in uppers:
        inside = bits[(bits >= np.uint32(upper << 16)) & (bits <= np.uint32((upper << 16) | 0xFFFF))]
        found[upper] = np.bincount(inside & np.uint32(0xFFFF), minlength=HALVES)
    return found


def merge_lower(parts: Iterable[LowerCounts]) -> LowerCounts:
    """Of the union of disjoint sets, counted for the same upper halves."""
    return reduce(lambda a, b: {upper: a[upper] + b[upper] for upper in a}, parts)


def exponent_sums(values: np.ndarray) -> np.ndarray:
    """Sums of the fp32 values of each exponent, float64 [256]: exact, so that those of parts just add up."""
    exact = np.ascontiguousarray(values, dtype=np.float32)
    exponents = (exact.view(np.uint32) >> np.uint32(23)) & np.uint32(0xFF)
    return np.bincount(exponents, weights=exact, minlength=256)


def mean_of(sums: np.ndarray, n: int) -> float | None:
    """The mean from `exponent_sums`, its sum rounded once; None where there is no value or one not finite."""
    return math.fsum(sums.tolist()) / n if n and np.isfinite(sums).all() else None


def exact_sum(values: np.ndarray) -> int:
    """The sum of up to 2**29 finite fp32 values in units of 2**-149; those of parts add up without limit."""
    sums = exponent_sums(values)
    return sum(int(math.ldexp(total, _SMALLEST)) for total in sums[sums != 0].tolist())


def mean_of_sum(total: int, n: int) -> float:
    """The mean of n values from their `exact_sum`, rounded once; NaN of none."""
    return total / (n << _SMALLEST) if n else math.nan


def top_sum(upper: UpperCounts, lower: LowerCounts, k: int) -> float:
    """The sum of the k highest values, rounded once."""
    place, rest = upper.place(k)
    whole = upper.total[place + 1 :]
    terms = whole[whole != 0].tolist()
    if rest == upper.count[place]:
        return math.fsum([*terms, float(upper.total[place])])
    halves, taken = _highest(lower[place], rest)
    return math.fsum([*terms, *(values_of(place, halves) * taken).tolist()])


def highest(upper: UpperCounts, lower: LowerCounts, k: int) -> float:
    """The k-th highest value."""
    place, rest = upper.place(k)
    halves, _ = _highest(lower[place], rest)
    return float(values_of(place, halves[:1])[0])


def ties(upper: UpperCounts, lower: LowerCounts, k: int) -> tuple[int, int]:
    """(how many of the k highest equal the lowest of them, how many of all values equal it)."""
    place, rest = upper.place(k)
    halves, taken = _highest(lower[place], rest)
    return int(taken[0]), int(lower[place][halves[0]])


def _highest(count: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(lower halves, how many of the k highest have each), ascending."""
    halves = np.flatnonzero(count)
    above = np.cumsum(count[halves][::-1])[::-1]
    taken = np.minimum(count[halves], k - (above - count[halves]))
    return halves[taken > 0], taken[taken > 0]
