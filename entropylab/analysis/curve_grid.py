"""Bayesian grid over noise models: the posterior of a line R = c0 + c1 u under AR(1) + white noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .curve_mixture import StudentMixture, join
from .curve_noise import Cells, Filtered, filter_cells, grid_cells
from .smoothing import usual_gap

RATES = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Rates c of the shapes u(H) = (exp(cH) - 1)/c of the form band; c = 0 is u = H, c = 1 is the law."""

_ROUNDING = 1e-14


@dataclass(frozen=True)
class Posterior:
    """Posterior of the line R = c0 + c1 u over C noise cells, each a bivariate t with nu degrees.

    weights [C]; coef [C, 2]; sigma2 [C]; unscaled [C, 2, 2] (covariance of coef / sigma2); log_evidence of
    all cells together, up to a constant; state [C, 3] and variance [C]: the AR(1) part of (1, u, R) at the
    last time, from which a later observation is forecast.
    """

    cells: Cells
    weights: np.ndarray
    coef: np.ndarray
    sigma2: np.ndarray
    unscaled: np.ndarray
    nu: float
    log_evidence: float
    state: np.ndarray
    variance: np.ndarray

    def linear(self, g: np.ndarray) -> StudentMixture:
        """The distribution of g @ (c0, c1) for each row of g [K, 2]."""
        location = g @ self.coef.T
        spread = np.einsum("ki,cij,kj->kc", g, self.unscaled, g)
        return StudentMixture(self.weights, location, np.sqrt(spread * self.sigma2), self.nu)

    def line_at(self, u: np.ndarray) -> StudentMixture:
        """The distribution of the line's value at each u [K]."""
        return self.linear(np.column_stack([np.ones_like(u), u]))

    def observation_at(self, u: np.ndarray, gap: np.ndarray) -> StudentMixture:
        """The distribution of a new observation at each u [K], `gap` [K] usual gaps after the last time."""
        f = self.cells.decay(gap)
        share = self.cells.share
        g = np.column_stack([np.ones_like(u), u])
        d = g[:, None, :] - f[..., None] * self.state[:, :2]
        location = f * self.state[:, 2] + np.einsum("kci,ci->kc", d, self.coef)
        spread = np.einsum("kci,cij,kcj->kc", d, self.unscaled, d)
        noise = f**2 * self.variance + share * (1.0 - f**2) + 1.0 - share
        return StudentMixture(self.weights, location, np.sqrt(self.sigma2 * (noise + spread)), self.nu)

    def lag_one(self) -> float:
        """Posterior mean of the noise's autocorrelation at one usual gap, s exp(-1/tau)."""
        return float(self.weights @ (self.cells.share * self.cells.decay(1.0)))

    def long_memory_share(self, m: int) -> float:
        """Posterior weight of the cells whose correlation time is above m/4."""
        return float(self.weights[self.cells.tau > m / 4].sum())


@dataclass(frozen=True)
class GridFit:
    """The grid's answer: the law's posterior, those of all shapes of the form band, and the curvature's p."""

    law: Posterior
    forms: tuple[Posterior, ...]
    curvature_p: float

    def form_line_at(self, entropy: np.ndarray) -> StudentMixture:
        """The distribution of the curve's value at each entropy [K] over the shapes of the form band."""
        lines = [form.line_at(shape(entropy, rate)) for rate, form in zip(RATES, self.forms, strict=True)]
        return join(lines, self.form_weights())

    def under(self, weights: Sequence[np.ndarray], log_evidence: Sequence[float]) -> GridFit:
        """The same lines under other weights [C] of the cells and another evidence, one a shape."""
        forms = tuple(
            replace(form, weights=w, log_evidence=e)
            for form, w, e in zip(self.forms, weights, log_evidence, strict=True)
        )
        return GridFit(forms[RATES.index(1.0)], forms, self.curvature_p)

    def form_weights(self) -> np.ndarray:
        """Posterior weight of each shape in RATES."""
        evidence = np.array([form.log_evidence for form in self.forms])
        weights = np.exp(evidence - evidence.max())
        return weights / weights.sum()


def shape(entropy: np.ndarray, rate: float) -> np.ndarray:
    """u(H) = (exp(cH) - 1)/c, for c = 0 its limit H; 0 at H = 0, so the intercept is the ceiling."""
    return np.expm1(rate * entropy) / rate if rate else np.asarray(entropy, dtype=float)


def fit_grid(
    times: np.ndarray, entropy: np.ndarray, performance: np.ndarray, cells: Cells | None = None
) -> GridFit:
    """The grid posterior of R = ceiling - a (exp(H) - 1) and of the form band's shapes, in one filter pass.

    times [m] sorted, entropy [m] nats (smoothed by the caller where it should be), performance [m]; cells:
    those of m points, if None.
    """
    m = len(times)
    shapes = np.column_stack([shape(entropy, rate) for rate in RATES])
    scaled = _Scaled.of(np.column_stack([shapes, performance]))
    bend = _bend(scaled.columns[:, RATES.index(1.0)])
    columns = np.column_stack([np.ones(m), scaled.columns, bend])
    cells = grid_cells(m) if cells is None else cells
    filtered = filter_cells((times - times[0]) / usual_gap(times), columns, cells)
    forms = tuple(_posterior(cells, filtered, scaled, j, m) for j in range(len(RATES)))
    return GridFit(forms[RATES.index(1.0)], forms, _curvature_p(cells, filtered, m))


@dataclass(frozen=True)
class _Scaled:
    """Columns [m, k] to mean 0 and standard deviation 1, with both kept."""

    columns: np.ndarray
    mean: np.ndarray
    sd: np.ndarray

    @classmethod
    def of(cls, columns: np.ndarray) -> _Scaled:
        """Columns scaled by their own mean and population standard deviation."""
        mean, sd = columns.mean(axis=0), columns.std(axis=0)
        return cls((columns - mean) / sd, mean, sd)


def _posterior(cells: Cells, filtered: Filtered, scaled: _Scaled, j: int, m: int) -> Posterior:
    """The posterior on column j of the shapes, in the units of the data.

    The regressor has standard deviation 1 inside, which puts log sd(u) into the evidence: the shapes then
    compete on equal terms.
    """
    response = len(RATES) + 1
    solved = _solve(cells, filtered, [0, 1 + j], response, m - 2)
    mean, sd, mean_r, sd_r = scaled.mean[j], scaled.sd[j], scaled.mean[-1], scaled.sd[-1]
    back = np.array([[1.0, -mean / sd], [0.0, 1.0 / sd]])
    ones, u, r = filtered.state[:, 0], filtered.state[:, 1 + j], filtered.state[:, response]
    return Posterior(
        cells=cells,
        weights=solved.weights,
        coef=sd_r * solved.coef @ back.T + [mean_r, 0.0],
        sigma2=sd_r**2 * solved.sigma2,
        unscaled=back @ solved.unscaled @ back.T,
        nu=m - 2.0,
        log_evidence=solved.log_evidence,
        state=np.column_stack([ones, mean * ones + sd * u, mean_r * ones + sd_r * r]),
        variance=filtered.variance,
    )


@dataclass(frozen=True)
class _Solved:
    weights: np.ndarray
    coef: np.ndarray
    sigma2: np.ndarray
    unscaled: np.ndarray
    log_evidence: float


def _solve(cells: Cells, filtered: Filtered, regressors: list[int], response: int, nu: int) -> _Solved:
    """Generalised least squares of every cell; log w = prior - (log det V + log det X'X + nu log rss)/2."""
    products = filtered.products
    xx = products[:, regressors][:, :, regressors]
    xr, rr = products[:, regressors, response], products[:, response, response]
    unscaled = np.linalg.inv(xx)
    coef = np.einsum("cij,cj->ci", unscaled, xr)
    rest, rounding = rr - np.einsum("ci,ci->c", xr, coef), _ROUNDING * rr
    rss = np.maximum(rest, rounding)
    fit = filtered.log_det + np.linalg.slogdet(xx)[1] + nu * np.log(rss)
    log_w = cells.log_prior - 0.5 * fit
    if rest[0] <= rounding[0]:  # an exact line leaves rounding, which is white
        log_w[1:] = -np.inf
    weights, log_evidence = normalised(log_w)
    return _Solved(weights, coef, rss / nu, unscaled, log_evidence)


def normalised(log_w: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights of sum 1 in proportion to exp(log_w), and the logarithm of that sum."""
    top = log_w.max()
    weights = np.exp(log_w - top)
    total = weights.sum()
    return weights / total, float(top + np.log(total))


def _bend(law: np.ndarray) -> np.ndarray:
    """The part of the law regressor's square that a line in it cannot follow, standard deviation 1 (or 0)."""
    line = np.linalg.qr(np.column_stack([np.ones_like(law), law]))[0]
    square = law**2
    rest = square - line @ (line.T @ square)
    sd = rest.std()
    return rest / sd if sd > 1e-9 * square.std() else np.zeros_like(law)


def _curvature_p(cells: Cells, filtered: Filtered, m: int) -> float:
    """Two-sided posterior tail probability of no curvature; 1 where x has too few values to tell."""
    law, response, bend = 1 + RATES.index(1.0), len(RATES) + 1, len(RATES) + 2
    if filtered.products[0, bend, bend] == 0:
        return 1.0
    solved = _solve(cells, filtered, [0, law, bend], response, m - 3)
    scale = np.sqrt(solved.sigma2 * solved.unscaled[:, 2, 2])
    location = np.stack([solved.coef[:, 2], -solved.coef[:, 2]])
    tails = StudentMixture(solved.weights, location, np.stack([scale, scale]), m - 3.0).cdf(np.zeros(2))
    return 2.0 * float(tails.min())
