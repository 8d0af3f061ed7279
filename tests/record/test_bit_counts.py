"""Exact order statistics against sorting and exact sums, whatever the split and the order."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from entropylab.record.bit_counts import (
    UpperCounts,
    exact_sum,
    highest,
    lower_counts,
    mean_of_sum,
    merge_lower,
    ordered_bits,
    ties,
    top_sum,
)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def counted(values: np.ndarray, ks: list[int], parts: int = 1) -> tuple[UpperCounts, dict]:
    pieces = np.array_split(values, parts)
    upper = reduce(UpperCounts.merge, [UpperCounts.of(p, ordered_bits(p)) for p in pieces])
    wanted = {upper.place(k)[0] for k in ks}
    return upper, merge_lower(lower_counts(ordered_bits(p), wanted) for p in pieces)


@settings(max_examples=200, deadline=None)
@given(arrays(np.float32, st.integers(1, 60), elements=FLOATS), st.data())
def test_equal_to_sorting_and_to_exact_sums(values, data):
    k = data.draw(st.integers(1, len(values)))
    upper, lower = counted(values, [k], parts=data.draw(st.integers(1, 4)))
    ranked = np.sort(values)[::-1].astype(np.float64)
    assert highest(upper, lower, k) == ranked[k - 1]
    assert top_sum(upper, lower, k) == math.fsum(ranked[:k])


@pytest.mark.parametrize("parts", [1, 7, 100])
def test_the_same_to_the_bit_in_any_order_and_split(parts):
    rng = np.random.default_rng(0)
    values = np.float32(rng.standard_t(2, 50_000))
    values[:20_000] = 0.0
    ks = [1, 10, 1000, 25_000, 50_000]
    sums = [top_sum(*counted(values, ks), k) for k in ks]
    shuffled = rng.permutation(values)
    assert [top_sum(*counted(shuffled, ks, parts), k) for k in ks] == sums
    ranked = np.sort(values.astype(np.float64))[::-1]
    assert sums == [math.fsum(ranked[:k]) for k in ks]


def test_bits_order_as_the_values_do():
    values = np.float32([-np.inf, -3e38, -1.0, -1e-45, 0.0, 1e-45, 1.0, 3e38, np.inf])
    assert np.all(np.diff(ordered_bits(values).astype(np.int64)) > 0)
    assert ordered_bits(np.float32([-0.0])) == ordered_bits(np.float32([0.0]))


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_seen(value):
    values = np.float32([0.0, -3e38, 3e38])
    assert UpperCounts.of(values, ordered_bits(values)).finite
    values = np.append(values, np.float32(value))
    assert not UpperCounts.of(values, ordered_bits(values)).finite


def test_undecided_are_the_halves_that_a_count_cuts():
    values = np.float32([4.0, 3.0, 3.0, 3.0, 1.0])
    upper = UpperCounts.of(values, ordered_bits(values))
    assert upper.undecided([1, 4, 5]) == set()
    assert upper.undecided([2, 3]) == {upper.place(2)[0]}


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, st.integers(0, 60), elements=FLOATS))
def test_exact_sums_of_parts_add_up(values):
    parts = sum(exact_sum(part) for part in np.array_split(values, 3))
    assert parts == exact_sum(values) == sum(Fraction(float(x)) for x in values) * 2**149
    if len(values):
        assert mean_of_sum(parts, len(values)) == float(Fraction(parts, len(values) << 149))


def test_the_mean_of_no_value_is_nan():
    assert math.isnan(mean_of_sum(0, 0))


def test_ties_at_the_lowest_of_the_highest():
    values = np.float32([3, 1, 1, 2, 1, 0])
    for k, expected in [(1, (1, 1)), (2, (1, 1)), (3, (1, 3)), (4, (2, 3)), (5, (3, 3)), (6, (1, 1))]:
        assert ties(*counted(values, [k]), k) == expected
