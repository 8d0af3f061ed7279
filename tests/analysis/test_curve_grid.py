"""The vectorised filter against dense matrices: every V built, factored and inverted on its own."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import linalg, stats

from entropylab.analysis.curve_grid import RATES, fit_grid, shape
from entropylab.analysis.curve_noise import grid_cells

GAMMA = 0.25


def cells_by_hand(m):
    """(tau, share, log prior) as statistics text books would list them: white noise, then 13 x 9 cells."""
    cells = [(None, 0.0, -GAMMA * np.log(0.25))]
    edges = np.geomspace(0.5, 2 * m, 14)
    for low, high in pairwise(edges):
        tau = np.sqrt(low * high)
        for j in range(1, 10):
            cells.append((tau, (j - 0.5) / 9, -GAMMA * np.log(max(tau, 0.25)) - np.log(9)))
    return cells


def correlation(times, others, tau, share):
    gaps = np.abs(times[:, None] - others)
    memory = np.zeros_like(gaps) if tau is None else share * np.exp(-gaps / tau)
    return memory + (1 - share) * (gaps == 0)


def dense(times, u, performance):
    """Per cell: log weight, location, sigma2, M and the kriging terms, in plain linear algebra."""
    m, x = len(times), np.column_stack([np.ones_like(u), u])
    rows = []
    for tau, share, prior in cells_by_hand(m):
        v = correlation(times, times, tau, share)
        factor = linalg.cho_factor(v, lower=True)
        xx = x.T @ linalg.cho_solve(factor, x)
        beta = np.linalg.solve(xx, x.T @ linalg.cho_solve(factor, performance))
        rest = performance - x @ beta
        rss = rest @ linalg.cho_solve(factor, rest)
        log_det = 2 * np.log(np.diag(factor[0])).sum()
        log_w = prior - 0.5 * (log_det + np.log(np.linalg.det(xx)) + (m - 2) * np.log(rss))
        rows.append((log_w, beta, rss / (m - 2), np.linalg.inv(xx), tau, share, factor))
    return rows


def normalise(log_weights):
    weights = np.exp(log_weights - np.max(log_weights))
    return weights / weights.sum()


def data(seed, m=14, uneven=True):
    rng = np.random.default_rng(seed)
    times = np.sort(rng.choice(4 * m, m, replace=False)).astype(float) if uneven else np.arange(float(m))
    entropy = 0.05 + 0.9 * np.exp(-np.arange(m) / 9) + 0.02 * rng.normal(size=m)
    noise = 0.02 * rng.normal(size=m).cumsum() * 0.3
    return times, entropy, 0.6 - 0.2 * np.exp(entropy) + noise + 0.01 * rng.normal(size=m)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("uneven", [True, False])
def test_posterior_is_that_of_dense_matrices(seed, uneven):
    times, entropy, performance = data(seed, uneven=uneven)
    law = fit_grid(times, entropy, performance).law
    scaled = (times - times[0]) / np.median(np.diff(times))
    rows = dense(scaled, np.exp(entropy) - 1, performance)
    np.testing.assert_allclose(law.weights, normalise([row[0] for row in rows]), rtol=1e-8)
    np.testing.assert_allclose(law.coef, [row[1] for row in rows], rtol=1e-8)
    np.testing.assert_allclose(law.sigma2, [row[2] for row in rows], rtol=1e-8)
    np.testing.assert_allclose(law.unscaled, [row[3] for row in rows], rtol=1e-8)


def test_quantiles_are_those_of_dense_matrices():
    times, entropy, performance = data(7)
    fit = fit_grid(times, entropy, performance)
    rows = dense((times - times[0]) / np.median(np.diff(times)), np.expm1(entropy), performance)
    weights = normalise([row[0] for row in rows])
    for g in (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, -1.0])):
        low, high = fit.law.linear(g[None]).interval(0.95)
        for bound, p in ((low[0], 0.025), (high[0], 0.975)):
            z = [(bound - g @ row[1]) / np.sqrt(row[2] * g @ row[3] @ g) for row in rows]
            assert stats.t.cdf(z, len(times) - 2) @ weights == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize("gap", [0.5, 3.0, 40.0])
def test_forecast_is_universal_kriging(gap):
    times, entropy, performance = data(3)
    law = fit_grid(times, entropy, performance).law
    scaled = (times - times[0]) / np.median(np.diff(times))
    u, new = np.expm1(entropy), np.array([1.0, np.expm1(0.1)])
    x = np.column_stack([np.ones_like(u), u])
    found = law.observation_at(new[1:], np.array([gap]))
    for i, (_, beta, sigma2, unscaled, tau, share, factor) in enumerate(dense(scaled, u, performance)):
        c = correlation(scaled, np.array([scaled[-1] + gap]), tau, share)[:, 0]
        weights = linalg.cho_solve(factor, c)
        d = new - x.T @ weights
        location = new @ beta + weights @ (performance - x @ beta)
        scale = np.sqrt(sigma2 * (1 - c @ weights + d @ unscaled @ d))
        assert found.location[0, i] == pytest.approx(location, rel=1e-8)
        assert found.scale[0, i] == pytest.approx(scale, rel=1e-8)


def test_form_band_weighs_the_shapes_by_their_standardised_evidence():
    times, entropy, performance = data(5)
    scaled = (times - times[0]) / np.median(np.diff(times))
    evidence = []
    for rate in RATES:
        u = entropy if rate == 0 else (np.exp(rate * entropy) - 1) / rate
        log_w = np.array([row[0] for row in dense(scaled, u, performance)])
        evidence.append(np.log(np.sum(np.exp(log_w - log_w.max()))) + log_w.max() + np.log(u.std()))
    fit = fit_grid(times, entropy, performance)
    np.testing.assert_allclose(fit.form_weights(), normalise(evidence), rtol=1e-8)


def test_curvature_is_the_tail_of_the_quadratic_term():
    times, entropy, performance = data(2)
    x = np.exp(entropy)
    design = np.column_stack([np.ones_like(x), x, x**2])
    scaled = (times - times[0]) / np.median(np.diff(times))
    m, log_w, tails = len(x), [], []
    for tau, share, prior in cells_by_hand(m):
        inverse = np.linalg.inv(correlation(scaled, scaled, tau, share))
        unscaled = np.linalg.inv(design.T @ inverse @ design)
        beta = unscaled @ design.T @ inverse @ performance
        rest = performance - design @ beta
        rss = rest @ inverse @ rest
        log_det = -np.linalg.slogdet(inverse)[1] - np.linalg.slogdet(unscaled)[1]
        log_w.append(prior - 0.5 * (log_det + (m - 3) * np.log(rss)))
        tails.append(stats.t.cdf(-beta[2] / np.sqrt(rss / (m - 3) * unscaled[2, 2]), m - 3))
    below = normalise(log_w) @ tails
    assert fit_grid(times, entropy, performance).curvature_p == pytest.approx(
        2 * min(below, 1 - below), rel=1e-6
    )


def test_cells_are_white_noise_and_thirteen_by_nine():
    cells = grid_cells(36)
    assert len(cells.tau) == 118
    assert cells.share[0] == 0
    np.testing.assert_allclose(
        cells.tau[1::9], np.sqrt(np.geomspace(0.5, 72, 14)[:-1] * np.geomspace(0.5, 72, 14)[1:])
    )
    np.testing.assert_allclose(cells.share[1:10], np.arange(0.5, 9) / 9)


def test_filter_in_blocks_agrees_with_one_pass():
    rng = np.random.default_rng(0)
    m = 600
    times = np.arange(float(m))
    entropy = 0.5 * np.exp(-times / 100)
    performance = 0.6 - 0.2 * np.exp(entropy) + 0.01 * rng.normal(size=m)
    law = fit_grid(times, entropy, performance).law
    cell = 60
    v = correlation(times, times, law.cells.tau[cell], law.cells.share[cell])
    x = np.column_stack([np.ones(m), np.expm1(entropy)])
    beta = np.linalg.solve(x.T @ np.linalg.solve(v, x), x.T @ np.linalg.solve(v, performance))
    np.testing.assert_allclose(law.coef[cell], beta, rtol=1e-8)


def test_shapes_meet_at_zero_entropy_and_the_law_is_one_of_them():
    entropy = np.array([0.0, 0.3, 1.0])
    assert all(shape(entropy, rate)[0] == 0 for rate in RATES)
    np.testing.assert_allclose(shape(entropy, 1.0), np.exp(entropy) - 1)
