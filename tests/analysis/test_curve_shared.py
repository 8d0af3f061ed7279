"""Runs on one noise law against the same posterior from dense matrices, and what can share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from entropylab.analysis.curve import fit_curve
from entropylab.analysis.curve_noise import grid_cells
from entropylab.analysis.curve_shared import share_noise
from entropylab.errors import InsufficientDataError, InvalidInputError

H = 0.05 + 0.5 * np.exp(-np.arange(30) / 10)


def noisy(seed: int, rho: float = 0.6) -> np.ndarray:
    rng, t = np.random.default_rng(seed), np.arange(30)
    v = 0.01**2 * rho ** np.abs(t[:, None] - t)
    return 0.7 - 0.25 * np.exp(H) + np.linalg.cholesky(v) @ rng.normal(size=30)


def dense(runs: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Weights of the cells given all runs, and each run's ceiling in every cell."""
    cells, x, t = grid_cells(30), np.column_stack([np.ones(30), np.expm1(H)]), np.arange(30.0)
    total, ceilings = cells.log_prior.copy(), [np.empty(len(cells.tau)) for _ in runs]
    for c, (tau, s) in enumerate(zip(cells.tau, cells.share, strict=True)):
        v = s * np.exp(-np.abs(t[:, None] - t) / tau) + (1 - s) * np.eye(30)
        vx = np.linalg.solve(v, x)
        for k, r in enumerate(runs):
            beta = np.linalg.solve(x.T @ vx, vx.T @ r)
            rest = r - x @ beta
            fit = np.linalg.slogdet(v)[1] + np.linalg.slogdet(x.T @ vx)[1]
            total[c] -= 0.5 * (fit + 28 * np.log(rest @ np.linalg.solve(v, rest)))
            ceilings[k][c] = beta[0]
    weights = np.exp(total - total.max())
    return weights / weights.sum(), ceilings


def test_the_posterior_of_dense_matrices():
    runs = [noisy(seed) for seed in range(3)]
    fits = share_noise([fit_curve(H, r) for r in runs])
    weights, ceilings = dense(runs)
    for fit, ceiling in zip(fits, ceilings, strict=True):
        np.testing.assert_allclose(fit.grid.law.weights, weights, rtol=2e-2, atol=1e-6)
        assert fit.ceiling == pytest.approx(float(weights @ ceiling), abs=1e-5)
    assert len({fit.rho for fit in fits}) == 1


def test_the_same_run_twice_sharpens_the_noise_not_the_line():
    alone = fit_curve(H, noisy(1))
    twice = share_noise([alone, alone])
    assert twice[0].intervals == twice[1].intervals
    spread = [-(w[w > 0] @ np.log(w[w > 0])) for w in (alone.grid.law.weights, twice[0].grid.law.weights)]
    assert spread[1] < spread[0]
    low, high = twice[0].intervals["ceiling"]
    assert high - low > 0.7 * np.diff(alone.intervals["ceiling"])[0]


def test_who_can_share():
    good, other = fit_curve(H, noisy(1)), fit_curve(H, noisy(2))
    few = fit_curve(H[:8], noisy(3)[:8])
    ols = fit_curve(H, noisy(4), method="ols")
    found = share_noise([good, few, other, ols])
    assert found[1] is few
    assert found[3] is ols
    assert found[0].rho == found[2].rho != good.rho
    with pytest.raises(InsufficientDataError, match="1 of 3 fits can share"):
        share_noise([good, few, ols])
    rare = fit_curve(H, noisy(2), steps=10 * np.arange(30))
    with pytest.raises(InvalidInputError, match="every 1, 10 steps"):
        share_noise([good, rare])


def test_what_else_was_said_of_a_run_stays():
    fits = [fit_curve(H, noisy(seed), n_problems=np.full(30, 500)) for seed in (1, 2)]
    fits[0] = replace(fits[0], warnings=(*fits[0].warnings, "the run acted on entropy"))
    found = share_noise(fits)
    assert found[0].warnings.count("the run acted on entropy") == 1
    assert found[0].binomial_sd == fits[0].binomial_sd
