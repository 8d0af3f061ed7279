"""Tail index ξ from the exceedances of a threshold: Hill, moment, and GPD by profile likelihood.

ξ > 0: a power law with exponent 1/ξ; ξ = 0: exponential; ξ < 0: bounded. Hill is positive whatever the data.
Each estimate is a function of sums over tokens, so a bootstrap by clusters needs only the sums per cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from .cluster_bootstrap import Floats, cluster_sums

ESTIMATORS = ("hill", "moment", "gpd")

_FORBIDDEN = 1e9

MIN_EXCEEDANCES = 200
"""Fewest exceedances from which ξ is estimated."""


def hill(logs: Floats, weights: Floats | None = None) -> float:
    """ξ = mean ln(x/u) over the exceedances x of u > 0; `logs` = ln(x/u), [k] (Hill 1975)."""
    return float(np.average(logs, weights=weights))


def moment(logs: Floats, weights: Floats | None = None) -> float:
    """ξ = M₁ + 1 - ½/(1 - M₁²/M₂), M_r = mean ln(x/u)^r (Dekkers, Einmahl and de Haan 1989); `logs` [k]."""
    return _moment(float(np.average(logs, weights=weights)), float(np.average(logs**2, weights=weights)))


def _moment(first: float, second: float) -> float:
    spread = second - first**2
    return first + 1 - 0.5 * second / spread if spread > 0 else float("nan")


def gpd(excess: Floats, weights: Floats | None = None) -> tuple[float, float]:
    """Generalised Pareto fit (ξ, σ) to excesses x - u > 0, [k], by the profile likelihood in θ = ξ/σ.

    ξ(θ) = mean ln(1 + θ e); maximise -ln(ξ/θ) - ξ - 1 over θ > -1/max(e), with ξ ≥ -1 (Grimshaw 1993).
    """
    grid = gpd_grid(excess)
    xi = np.average(np.log1p(np.outer(grid, excess)), axis=1, weights=weights)
    best = int(np.nanargmax(profile(grid, xi)))
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]

    def _cost(theta: float) -> float:
        mean = np.average(np.log1p(theta * excess), weights=weights)
        value = profile(np.array([theta]), np.array([mean]))[0]
        return -value if np.isfinite(value) else _FORBIDDEN

    found = minimize_scalar(_cost, bounds=around, method="bounded", options={"xatol": 1e-12 / excess.mean()})
    theta = float(found.x) if found.fun <= _cost(grid[best]) else float(grid[best])
    fitted = float(np.average(np.log1p(theta * excess), weights=weights))
    return fitted, fitted / theta


def gpd_grid(excess: Floats, points: int = 72) -> Floats:
    """Values of θ from -1/max(e) over both sides of 0 to 200/median(e), ascending, 0 left out, [2·points]."""
    negative = -(1 - np.geomspace(1e-9, 1 - 1e-4, points)) / excess.max()
    positive = np.geomspace(1e-4, 200, points) / np.median(excess)
    return np.concatenate([negative, positive])


def profile(theta: Floats, xi: Floats) -> Floats:
    """Profile log-likelihood a token, -ln(ξ/θ) - ξ - 1; -inf where ξ < -1 (there it is unbounded)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = -np.log(xi / theta) - xi - 1
    return np.where((xi >= -1) & np.isfinite(value), value, -np.inf)


@dataclass(frozen=True)
class Exceedances:
    """The tokens above one threshold u, and the sums per cluster that the estimators need.

    `weights` [k]: tokens each stands for; None: one each.
    """

    threshold: float
    logs: Floats
    excess: Floats
    present: NDArray[np.intp]
    sums: Floats
    grid: Floats
    weights: Floats | None = None

    @classmethod
    def of(
        cls, descending: Floats, codes: NDArray[np.intp], k: int, weights: Floats | None = None
    ) -> Exceedances:
        """Exceedances of the (k + 1)-th largest value; fewer than k where values tie with it."""
        threshold = float(descending[k])
        above = int(np.searchsorted(-descending[:k], -threshold, side="left"))
        values = descending[:above]
        excess = values - threshold
        positive = threshold > 0
        logs = np.log(values / threshold) if positive else np.full(above, np.nan)
        grid = gpd_grid(excess)
        present, local = np.unique(codes[:above], return_inverse=True)
        w = None if weights is None else weights[:above]
        linear = np.column_stack([np.ones(above), logs, logs**2])
        linear = linear if w is None else linear * w[:, None]
        profile_sums = _profile_sums(excess, grid, local, len(present), w)
        sums = np.hstack([cluster_sums(linear, local, len(present)), profile_sums])
        return cls(threshold, logs, excess, present, sums, grid, w)

    def estimate(self) -> Floats:
        """(Hill, moment, GPD ξ), [3]; the first two are NaN where u <= 0."""
        w = self.weights
        return np.array([hill(self.logs, w), moment(self.logs, w), gpd(self.excess, w)[0]])

    @property
    def mean_excess(self) -> float:
        """Mean of x - u over the tokens above u."""
        return float(np.average(self.excess, weights=self.weights))

    @property
    def evenly_drawn(self) -> bool:
        """Whether every token above u stands for as many as every other."""
        return self.weights is None or bool(np.ptp(self.weights) <= 1e-9 * self.weights.max())

    def replicate(self, counts: Floats) -> Floats:
        """The same where cluster c counts `counts[c]` times, the threshold held, [3]; GPD on the grid."""
        totals = counts[self.present] @ self.sums
        if totals[0] < 2:
            return np.full(3, np.nan)
        means = totals / totals[0]
        return np.array(
            [means[1], _moment(float(means[1]), float(means[2])), _grid_maximum(self.grid, means[3:])]
        )


def _profile_sums(
    excess: Floats, grid: Floats, codes: NDArray[np.intp], count: int, weights: Floats | None
) -> Floats:
    """Σ ln(1 + θ e) within each cluster at each θ of the grid, [count, G]; by columns, to save memory."""
    columns = []
    for theta in grid:
        logs = np.log1p(theta * excess)
        columns.append(np.bincount(codes, logs if weights is None else weights * logs, minlength=count))
    return np.column_stack(columns)


def _grid_maximum(grid: Floats, xi: Floats) -> float:
    """ξ at the maximum of the profile: a parabola through the best point of the grid and its neighbours."""
    value = profile(grid, xi)
    best = int(np.argmax(value))
    if best in (0, len(grid) - 1) or not np.isfinite(value[best - 1 : best + 2]).all():
        return float(xi[best]) if np.isfinite(value[best]) else float("nan")
    shift = float(np.clip(_vertex(*value[best - 1 : best + 2]), -1, 1))
    left, middle, right = xi[best - 1 : best + 2]
    return float(middle + shift * (right - left) / 2 + shift**2 * (left - 2 * middle + right) / 2)


def _vertex(left: float, middle: float, right: float) -> float:
    """Place of the maximum of the parabola through three points at -1, 0, 1."""
    bend = left - 2 * middle + right
    return (left - right) / (2 * bend) if bend < 0 else 0.0
