"""Separable least squares: y = sum_j c_j phi_j(x; theta), the linear c eliminated by variable projection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_ITERATIONS = 300
_CONVERGED = 1e-13


@dataclass(frozen=True)
class SeparableModel:
    """basis(x, theta) -> [m, p]; slopes(x, theta) -> [q, m, p], its derivatives; bounds low, high [q]."""

    basis: Callable[[np.ndarray, np.ndarray], np.ndarray]
    slopes: Callable[[np.ndarray, np.ndarray], np.ndarray]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def clip(self, theta: np.ndarray) -> np.ndarray:
        """theta moved inside the bounds."""
        return np.clip(theta, self.low, self.high) if len(theta) else theta


@dataclass(frozen=True)
class SeparableFit:
    """theta [q] and coef [p] with standard errors from the analytic Jacobian; rss of the points given."""

    theta: np.ndarray
    coef: np.ndarray
    se_theta: np.ndarray
    se_coef: np.ndarray
    rss: float


def fit_separable(
    model: SeparableModel,
    x: np.ndarray,
    y: np.ndarray,
    starts: Sequence[Sequence[float]],
    *,
    whiten: Callable[[np.ndarray], np.ndarray] = lambda rows: rows,
) -> SeparableFit:
    """The best least-squares fit from several starts of theta: Levenberg-Marquardt on the projection.

    Kaufman's Jacobian -(I - Q Q') (dPhi/dtheta) c; whiten maps rows [m, ...] to uncorrelated ones.
    """
    found = [_descend(model, x, y, np.asarray(start, dtype=float), whiten) for start in starts]
    theta = min(found, key=lambda state: state.rss).theta
    return _report(model, x, y, theta, whiten)


@dataclass(frozen=True)
class _State:
    theta: np.ndarray
    coef: np.ndarray
    q: np.ndarray
    residual: np.ndarray

    @property
    def rss(self) -> float:
        """Residual sum of squares, infinite where the basis overflowed."""
        rss = float(self.residual @ self.residual)
        return rss if np.isfinite(rss) else np.inf


def _project(
    model: SeparableModel,
    x: np.ndarray,
    y: np.ndarray,
    theta: np.ndarray,
    whiten: Callable[[np.ndarray], np.ndarray],
) -> _State:
    phi, target = whiten(model.basis(x, theta)), whiten(y)
    q, r = np.linalg.qr(phi)
    coef = np.linalg.lstsq(r, q.T @ target, rcond=1e-13)[0]
    return _State(theta, coef, q, target - phi @ coef)


def _descend(
    model: SeparableModel,
    x: np.ndarray,
    y: np.ndarray,
    theta: np.ndarray,
    whiten: Callable[[np.ndarray], np.ndarray],
) -> _State:
    state, damping = _project(model, x, y, model.clip(theta), whiten), 1e-3
    for _ in range(_ITERATIONS if len(theta) else 0):
        bends = np.stack([whiten(slope @ state.coef) for slope in model.slopes(x, state.theta)], axis=1)
        jacobian = bends - state.q @ (state.q.T @ bends)
        curvature = jacobian.T @ jacobian
        damped = curvature + damping * np.diag(np.diag(curvature) + np.finfo(float).tiny)
        step = np.linalg.lstsq(damped, jacobian.T @ state.residual, rcond=None)[0]
        trial = _project(model, x, y, model.clip(state.theta + step), whiten)
        moved = np.abs(trial.theta - state.theta).max() > _CONVERGED * np.abs(state.theta).max()
        if trial.rss <= state.rss:
            state, damping = trial, damping / 10
        else:
            damping *= 10
        if not moved or damping > 1e12:
            break
    return state


def _report(
    model: SeparableModel,
    x: np.ndarray,
    y: np.ndarray,
    theta: np.ndarray,
    whiten: Callable[[np.ndarray], np.ndarray],
) -> SeparableFit:
    state = _project(model, x, y, theta, whiten)
    bends = [whiten(slope @ state.coef) for slope in model.slopes(x, theta)] if len(theta) else []
    jacobian = np.column_stack([whiten(model.basis(x, theta)), *bends])
    p, left = len(state.coef), max(len(y) - jacobian.shape[1], 1)
    spread = np.linalg.pinv(np.linalg.qr(jacobian, mode="r"))
    se = np.sqrt(state.rss / left * (spread**2).sum(axis=1))
    return SeparableFit(theta, state.coef, se[p:], se[:p], state.rss)
