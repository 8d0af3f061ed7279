"""The default interval holds the true ceiling as often as it says, where plain least squares does not."""

from __future__ import annotations

import numpy as np
import pytest

from entropylab.analysis.curve import fit_curve

A, B, M, DRAWS = 0.211, 0.598, 36, 250


def draws(rho, binomial_sd, seed):
    """Early steps of a run with AR(1) noise: entropy, performance, width of GLS with the true covariance."""
    rng = np.random.default_rng(seed)
    times = np.arange(M)
    v = 0.01**2 * rho ** np.abs(times[:, None] - times) + binomial_sd**2 * np.eye(M)
    factor = np.linalg.cholesky(v)
    for _ in range(DRAWS):
        entropy = 0.018 + 0.53 * np.exp(-times / 40) + 0.01 * rng.normal(size=M)
        performance = B - A * np.exp(entropy) + factor @ rng.normal(size=M)
        x = np.column_stack([np.ones(M), np.expm1(entropy)])
        yield entropy, performance, 2 * 2.03 * np.sqrt(np.linalg.inv(x.T @ np.linalg.solve(v, x))[0, 0])


@pytest.mark.quick("0.8-*")
@pytest.mark.parametrize(
    ("rho", "binomial_sd", "least"), [(0.5, 0.015, 0.93), (0.5, 0.005, 0.93), (0.8, 0.005, 0.90)]
)
def test_coverage_and_width(rho, binomial_sd, least):
    held, held_forms, widths, withheld = [], [], [], 0
    for entropy, performance, oracle in draws(rho, binomial_sd, seed=11):
        fit = fit_curve(entropy, performance)
        if fit.intervals["ceiling"] is None:
            withheld += 1
            continue
        low, high = fit.intervals["ceiling"]
        held.append(low <= B - A <= high)
        held_forms.append(fit.form_band[0] <= B - A <= fit.form_band[1])
        widths.append((high - low) / oracle)
    assert np.mean(held) >= least
    assert np.mean(held_forms) >= 0.95
    assert np.median(widths) <= 1.5
    assert withheld <= 0.06 * DRAWS


@pytest.mark.long
def test_ordinary_least_squares_does_not():
    held = []
    for entropy, performance, _ in draws(0.8, 0.005, seed=11):
        interval = fit_curve(entropy, performance, method="ols").intervals["ceiling"]
        if interval is not None:
            held.append(interval[0] <= B - A <= interval[1])
    assert np.mean(held) < 0.8


def test_forecast_of_a_far_step():
    rng = np.random.default_rng(5)
    times, held = np.arange(240), []
    factor = np.linalg.cholesky(0.01**2 * 0.5 ** np.abs(times[:, None] - times) + 0.005**2 * np.eye(240))
    for _ in range(100):
        entropy = 0.018 + 0.53 * np.exp(-times / 40)
        performance = B - A * np.exp(entropy) + factor @ rng.normal(size=240)
        row = fit_curve(entropy[:M], performance[:M]).forecast(entropy[-1:], steps=times[-1:]).iloc[0]
        held.append(not performance[-1] < row["low"] and not performance[-1] > row["high"])
    assert np.mean(held) >= 0.93
