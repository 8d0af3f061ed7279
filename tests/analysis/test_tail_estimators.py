from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import genpareto

from entropylab.analysis.tail_estimators import Exceedances, gpd, hill, moment


def descending(values):
    return np.sort(np.asarray(values, dtype=float))[::-1]


@pytest.mark.parametrize("xi", [-0.9, -0.5, -0.2, 0.0, 0.1, 0.3, 0.8, 2.0])
def test_gpd_reaches_the_likelihood_of_scipy(xi):
    excess = genpareto.rvs(xi, scale=2.5, size=1000, random_state=np.random.default_rng(1))
    found_xi, found_sigma = gpd(excess)
    scipy_xi, _, scipy_sigma = genpareto.fit(excess, floc=0)
    ours = genpareto.logpdf(excess, found_xi, scale=found_sigma).sum()
    theirs = genpareto.logpdf(excess, scipy_xi, scale=scipy_sigma).sum()
    assert ours >= theirs - 1e-7
    assert (found_xi, found_sigma) == pytest.approx((scipy_xi, scipy_sigma), abs=2e-4, rel=2e-4)


def test_gpd_scales_with_its_unit():
    excess = genpareto.rvs(0.2, size=400, random_state=np.random.default_rng(2))
    xi, sigma = gpd(excess)
    assert gpd(1e-3 * excess) == pytest.approx((xi, 1e-3 * sigma), rel=1e-5)


def test_gpd_of_a_uniform_tail_is_bounded():
    assert gpd(np.random.default_rng(3).random(2000))[0] == pytest.approx(-1, abs=0.05)


def test_hill_and_moment_by_hand():
    logs = np.log([2.0, 4.0])
    assert hill(logs) == pytest.approx(1.5 * np.log(2))
    first, second = 1.5 * np.log(2), 2.5 * np.log(2) ** 2
    assert moment(logs) == pytest.approx(first + 1 - 0.5 / (1 - first**2 / second))


@pytest.mark.parametrize(
    ("name", "draw", "xi"),
    [
        ("pareto", lambda rng: 1 + rng.pareto(2.5, 200_000), 0.4),
        ("exponential", lambda rng: rng.exponential(size=200_000), 0.0),
        ("uniform", lambda rng: rng.random(200_000), -1.0),
    ],
)
def test_reference_distributions(name, draw, xi):
    x = descending(draw(np.random.default_rng(4)))
    found = Exceedances.of(x, np.arange(len(x)), 2000).estimate()
    assert found[2] == pytest.approx(xi, abs=0.08), f"{name}: GPD"
    assert found[1] == pytest.approx(xi, abs=0.12), f"{name}: moment"
    if xi > 0:
        assert found[0] == pytest.approx(xi, abs=0.03), f"{name}: Hill"
    else:
        assert found[0] > 0, "Hill is positive whatever the data"


def test_a_replicate_equals_an_estimate_of_the_tokens_written_out():
    rng = np.random.default_rng(5)
    x, codes = descending(rng.standard_t(4, 30_000)), rng.integers(0, 100, 30_000)
    tail = Exceedances.of(x, codes, 600)
    for _ in range(4):
        counts = rng.multinomial(100, np.full(100, 0.01)).astype(float)
        times = counts[codes[: len(tail.excess)]].astype(int)
        excess, logs = np.repeat(tail.excess, times), np.repeat(tail.logs, times)
        expected = [hill(logs), moment(logs), gpd(excess)[0]]
        np.testing.assert_allclose(tail.replicate(counts), expected, atol=3e-3)


def test_ties_with_the_threshold_are_not_exceedances():
    tail = Exceedances.of(np.array([9.0, 7.0, 5.0, 5.0, 5.0, 1.0]), np.arange(6), 4)
    assert tail.threshold == 5
    assert tail.excess.tolist() == [4, 2]


def test_hill_needs_a_positive_threshold():
    tail = Exceedances.of(np.array([2.0, 1.0, -1.0, -3.0]), np.arange(4), 2)
    assert np.isnan(tail.estimate()[:2]).all()
    assert np.isfinite(tail.estimate()[2])
