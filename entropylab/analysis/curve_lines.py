"""The line R = c0 + c1 u by ordinary, autoregressive and robust least squares, as one-cell posteriors."""

from __future__ import annotations

import numpy as np

from .curve_grid import Posterior
from .curve_noise import SHORTEST, Cells

_EXACT = 1e-13


def ols_line(u: np.ndarray, performance: np.ndarray) -> Posterior:
    """Ordinary least squares by QR: covariance sigma^2 (X'X)^-1, nu = m - 2; u [m] must not be constant."""
    m = len(u)
    x = np.column_stack([np.ones(m), u])
    q, r = np.linalg.qr(x)
    inverse = np.linalg.inv(r)
    shifted = performance - performance[0]
    coef = inverse @ (q.T @ shifted)
    residuals = shifted - x @ coef
    coef[0] += performance[0]
    return _one_cell(coef, float(residuals @ residuals) / (m - 2), inverse @ inverse.T, m - 2.0)


def gls_line(u: np.ndarray, performance: np.ndarray) -> tuple[Posterior, float]:
    """Feasible generalised least squares with AR(1) noise (statsmodels' GLSAR), and the estimated rho.

    The points count as equally spaced, in their order.
    """
    from statsmodels.regression.linear_model import GLSAR

    ordinary = ols_line(u, performance)
    if _is_exact(ordinary, performance):
        return ordinary, 0.0
    design, back = _standardised(u)
    model = GLSAR(performance, design, rho=1)
    result = model.iterative_fit(maxiter=100, rtol=1e-10)
    rho = float(np.ravel(model.rho)[0])
    stationary = 1.0 - rho**2
    line = _one_cell(
        back @ result.params,
        float(result.scale) / stationary,
        back @ result.normalized_cov_params @ back.T * stationary,
        float(result.df_resid),
    )
    return (_with_memory(line, rho, u[-1], performance[-1]) if rho > 0 else line), rho


def huber_line(u: np.ndarray, performance: np.ndarray) -> Posterior:
    """Huber's M-estimate, threshold 1.345 MAD (statsmodels' RLM), nu = m - 2 for its intervals."""
    from statsmodels.robust.norms import HuberT
    from statsmodels.robust.robust_linear_model import RLM

    ordinary = ols_line(u, performance)
    if _is_exact(ordinary, performance):
        return ordinary
    design, back = _standardised(u)
    result = RLM(performance, design, M=HuberT(1.345)).fit(maxiter=200)
    sigma2 = float(result.scale) ** 2
    if not sigma2 > 0:
        return ordinary
    unscaled = back @ result.bcov_scaled @ back.T / sigma2
    return _one_cell(back @ result.params, sigma2, unscaled, len(u) - 2.0)


def _standardised(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The design [1, (u - mean)/sd] and the matrix that takes its coefficients back to [1, u]."""
    mean, sd = u.mean(), u.std()
    design = np.column_stack([np.ones_like(u), (u - mean) / sd])
    return design, np.array([[1.0, -mean / sd], [0.0, 1.0 / sd]])


def _is_exact(line: Posterior, performance: np.ndarray) -> bool:
    return bool(np.sqrt(line.sigma2[0]) <= _EXACT * np.abs(performance).max())


def _one_cell(coef: np.ndarray, sigma2: float, unscaled: np.ndarray, nu: float) -> Posterior:
    """White noise alone: nothing of the past helps to forecast a later observation."""
    return Posterior(
        cells=Cells(np.array([SHORTEST]), np.zeros(1), np.zeros(1)),
        weights=np.ones(1),
        coef=np.asarray(coef, dtype=float)[None],
        sigma2=np.array([sigma2]),
        unscaled=np.asarray(unscaled, dtype=float)[None],
        nu=nu,
        log_evidence=0.0,
        state=np.zeros((1, 3)),
        variance=np.zeros(1),
    )


def _with_memory(line: Posterior, rho: float, last_u: float, last_performance: float) -> Posterior:
    """The same line with pure AR(1) noise: the last residual is known and fades as rho^gap."""
    return Posterior(
        cells=Cells(np.array([-1.0 / np.log(rho)]), np.ones(1), np.zeros(1)),
        weights=line.weights,
        coef=line.coef,
        sigma2=line.sigma2,
        unscaled=line.unscaled,
        nu=line.nu,
        log_evidence=0.0,
        state=np.array([[1.0, last_u, last_performance]]),
        variance=np.zeros(1),
    )
