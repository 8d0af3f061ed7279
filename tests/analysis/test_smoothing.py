from __future__ import annotations

import numpy as np
import pytest

from entropylab.analysis.smoothing import aicc, smooth


def criterion(times, values, degree):
    """AICc of a polynomial of that degree, by an ordinary polynomial fit."""
    m, k = len(values), degree + 2
    trend = np.polynomial.Polynomial.fit(times, values, degree)(times)
    return m * np.log(np.mean((values - trend) ** 2)) + 2 * k + 2 * k * (k + 1) / (m - k - 1), trend


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("m", [12, 24, 36, 60])
def test_degree_has_the_smallest_criterion(seed, m):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.choice(500, m, replace=False)).astype(float)
    values = np.exp(-times / 300) + 0.05 * rng.normal(size=m)
    found = smooth(times, values)
    clock = times if found.clock == "t" else np.log1p((times - times[0]) / np.median(np.diff(times)))
    scores = {degree: criterion(clock, values, degree) for degree in range(1, min(8, m // 4) + 1)}
    best = min(scores, key=lambda degree: scores[degree][0])
    assert found.degree == best
    np.testing.assert_allclose(found.values, scores[best][1], atol=1e-9)


@pytest.mark.parametrize("degree", [1, 2, 4])
def test_exact_polynomial_gives_its_own_degree_and_itself(degree):
    times = np.arange(40.0)
    values = np.polynomial.Polynomial(np.linspace(0.5, 1.0, degree + 1), domain=[0, 39])(times)
    found = smooth(times, values)
    assert found.degree == degree
    np.testing.assert_allclose(found.values, values, atol=1e-12)


def test_collapse_that_crawls_later_is_followed_on_the_log_clock():
    times = np.arange(1000.0)
    values = 1.2 * (1 + times / 20) ** -0.9
    found = smooth(times, values)
    assert found.clock == "log t"
    assert np.abs(found.values - values).max() < 2e-3


def test_order_and_units_of_time_do_not_matter():
    rng = np.random.default_rng(0)
    times, values = np.arange(30.0), rng.normal(size=30).cumsum()
    order = rng.permutation(30)
    np.testing.assert_allclose(
        smooth(times[order], values[order]).values, smooth(times, values).values[order]
    )
    np.testing.assert_allclose(smooth(7 * times + 3, values).values, smooth(times, values).values)


def test_criterion_is_infinite_without_degrees_of_freedom():
    assert np.isinf(aicc(np.array([1.0]), 4, np.array([3]), scale=1.0))
