from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from entropylab.analysis.curve_mixture import StudentMixture, join


def example(seed, nu=7.0, k=3, c=20):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(c, 0.3))
    return StudentMixture(weights, rng.normal(size=(k, c)), 10 ** rng.uniform(-2, 1, (k, c)), nu)


def brute_force_quantile(mixture, row, p):
    """Plain bisection on the distribution function, 200 halvings, with SciPy's t."""
    low, high = -1e6, 1e6
    for _ in range(200):
        middle = 0.5 * (low + high)
        z = (middle - mixture.location[row]) / mixture.scale[row]
        below = stats.t.cdf(z, mixture.nu) @ mixture.weights < p
        low, high = (middle, high) if below else (low, middle)
    return low


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("p", [0.005, 0.025, 0.5, 0.9, 0.995])
def test_quantile_is_that_of_plain_bisection(seed, p):
    mixture = example(seed)
    expected = [brute_force_quantile(mixture, row, p) for row in range(3)]
    np.testing.assert_allclose(mixture.quantile(p), expected, rtol=1e-9, atol=1e-10)


def test_two_far_components_meet_in_the_gap():
    mixture = StudentMixture(np.array([0.5, 0.5]), np.array([[-1e3, 1e3]]), np.array([[1.0, 1e-3]]), 10.0)
    assert mixture.quantile(0.25)[0] == pytest.approx(-1e3, abs=1e-9)
    assert mixture.quantile(0.75)[0] == pytest.approx(1e3, abs=1e-9)


def test_one_component_is_student_t():
    mixture = StudentMixture(np.ones(1), np.array([[2.0]]), np.array([[3.0]]), 5.0)
    low, high = mixture.interval(0.9)
    np.testing.assert_allclose([low[0], high[0]], stats.t.interval(0.9, 5, loc=2, scale=3), rtol=1e-12)
    assert mixture.standard_error()[0] == pytest.approx(3.0)


def test_moments_against_quadrature():
    mixture, inflation = example(3), 7.0 / 5.0  # the variance of t is nu/(nu - 2)

    def moment(power):
        def density(x):
            pdf = stats.t.pdf((x - mixture.location[0]) / mixture.scale[0], 7.0) / mixture.scale[0]
            return x**power * float(pdf @ mixture.weights)

        return integrate.quad(density, -np.inf, np.inf, limit=500, epsabs=1e-11)[0]

    mean = moment(1)
    assert mixture.mean()[0] == pytest.approx(mean, abs=1e-6)
    within = mixture.scale[0] ** 2 @ mixture.weights
    variance = moment(2) - mean**2 - (inflation - 1.0) * within
    assert mixture.standard_error()[0] == pytest.approx(np.sqrt(variance), rel=1e-5)


def test_joined_mixture_averages_the_distribution_functions():
    first, second = example(0), example(1)
    x = np.array([-0.3, 0.0, 2.0])
    joined = join([first, second], np.array([0.25, 0.75]))
    np.testing.assert_allclose(joined.cdf(x), 0.25 * first.cdf(x) + 0.75 * second.cdf(x), rtol=1e-12)


def test_without_scale_the_quantile_is_the_location():
    mixture = StudentMixture(np.ones(1), np.array([[0.25]]), np.zeros((1, 1)), 10.0)
    low, high = mixture.interval(0.95)
    assert low[0] == high[0] == 0.25
