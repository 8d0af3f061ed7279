"""Moments against SciPy, and their exact merge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from entropylab.record.moments import Moments, merge_moments
from entropylab.record.summary import centre_of, quadrant_index, top_count, top_means


def test_against_scipy():
    x = np.random.default_rng(0).standard_t(4, 1000)
    m = Moments.of(x)
    assert (m.n, m.mean) == (1000, pytest.approx(x.mean(), rel=1e-13))
    assert m.std == pytest.approx(x.std(), rel=1e-13)
    assert m.skew == pytest.approx(stats.skew(x), rel=1e-11)
    assert m.kurtosis == pytest.approx(stats.kurtosis(x), rel=1e-11)


def test_by_hand():
    m = Moments.of(np.array([1.0, 2.0, 2.0, 7.0]))  # deviations -2 -1 -1 4
    assert m.to_list() == [4, 3.0, 22.0, 54.0, 274.0]
    assert m.kurtosis == 4 * 274 / 22**2 - 3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30),
    st.lists(st.floats(-1e3, 1e3), min_size=0, max_size=30),
    st.floats(-1e5, 1e5),
)
def test_merging_parts_equals_the_whole(left, right, offset):
    parts = [np.array(left) + offset, np.array(right) + offset]
    merged = merge_moments(Moments.of(p) for p in parts)
    whole = Moments.of(np.concatenate(parts))
    scale = max(1.0, float(np.abs(np.concatenate(parts) - whole.mean).max()))
    rounding = 1e-9 * max(1.0, abs(offset) / 1e3) * whole.n
    assert merged.n == whole.n
    for power, name in ((1, "mean"), (2, "m2"), (3, "m3"), (4, "m4")):
        assert getattr(merged, name) == pytest.approx(
            getattr(whole, name), rel=1e-9, abs=rounding * scale**power
        )


def test_a_large_offset_loses_nothing():
    x = np.random.default_rng(1).normal(size=2000)
    parts = [Moments.of(p) for p in np.split(x + 1e6, 8)]
    merged = merge_moments(parts)
    assert merged.std == pytest.approx(x.std(), rel=1e-9)
    assert merged.kurtosis == pytest.approx(stats.kurtosis(x), rel=1e-6, abs=1e-6)


def test_constants_have_no_shape_and_nothing_has_no_moments():
    constant = merge_moments([Moments.of(np.full(7, 0.1)), Moments.of(np.full(3, 0.1))])
    assert constant.std == pytest.approx(0.0, abs=1e-15)
    assert constant.skew is constant.kurtosis is None
    assert Moments.of(np.array([np.nan, np.inf])) == Moments()
    assert Moments().std is Moments().skew is None


def test_top_counts_are_ceilings_without_rounding_slips():
    assert [top_count(0.2, n) for n in (1, 5, 6, 10, 11)] == [1, 1, 2, 2, 3]
    assert top_count(2e-4, 10_000) == 2
    assert top_count(2e-4, 10_001) == 3
    assert all(top_count(0.02, 50 * k) == k for k in range(1, 2000))


def test_top_means_by_hand():
    row = top_means(np.array([5.0, -1.0, 3.0, 0.0]))
    assert row == {
        "top_mean_0.0002": 5.0,
        "top_mean_0.002": 5.0,
        "top_mean_0.02": 5.0,
        "top_mean_0.2": 5.0,
        "top_mean_0.5": 4.0,
    }
    assert set(top_means(np.array([1.0, np.nan])).values()) == {None}


def test_quadrants_by_hand():
    logprob = np.array([-1.0, -1.0, -3.0, -3.0, -2.0])
    advantage = np.array([1.0, -1.0, 1.0, -1.0, 0.0])
    assert quadrant_index(logprob, advantage, centre_of(logprob, advantage)).tolist() == [0, 1, 2, 3, 0]
