"""The alternatives to a discrete power law: rounded continuous ones, and x^-alpha exp(-rate x) itself.

A whole number x stands for the interval from x - 1/2 to x + 1/2 of a continuous variable above xmin - 1/2, so
p(x) = S(x - 1/2) - S(x + 1/2). With v = x/(xmin - 1/2), the fits start from those of ``power_law_shapes``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_ndtr

from .hurwitz import log_zeta
from .power_law_scan import Floats
from .power_law_shapes import Shape, lognormal, truncated_moments, weibull

_DIRECT = 2000
"""Terms of a normalising sum before an integral takes over."""
_LogSurvival = Callable[[Floats, Floats], Floats]


def whole_power_law(x: Floats, xmin: float, alpha: float) -> Shape:
    """p(x) = x^-alpha / zeta(alpha, xmin)."""
    return Shape({"alpha": alpha}, -alpha * np.log(x) - log_zeta(alpha, xmin))


def whole_exponential(x: Floats, xmin: float) -> Shape:
    """p(x) proportional to exp(-rate x): exact, rate = ln(1 + 1/mean(x - xmin))."""
    rate = float(np.log1p(1.0 / (x - xmin).mean()))
    return Shape({"rate": rate * xmin}, np.log(-np.expm1(-rate)) - rate * (x - xmin))


def whole_weibull(x: Floats, xmin: float) -> Shape:
    """Rounded: ln S(v) = -c (v^shape - 1)."""
    start = weibull(x / (xmin - 0.5)).parameters
    shape = max(start["shape"], 1e-3)
    c = start["scale"] ** -shape if np.isfinite(start["scale"]) else 1.0 / shape

    def log_survival(at: Floats, v: Floats) -> Floats:
        return -np.exp(at[1]) * np.expm1(np.exp(at[0]) * np.log(v))

    at, density = _rounded(x, xmin, log_survival, np.log([shape, max(c, 1e-300)]))
    k = float(np.exp(at[0]))
    return Shape({"shape": k, "scale": float(np.exp(-at[1] / k))}, density)


def whole_lognormal(x: Floats, xmin: float) -> Shape:
    """Rounded: S(v) = Phi((mu - ln v)/sigma) / Phi(mu/sigma)."""
    start = lognormal(x / (xmin - 0.5)).parameters
    far = not np.isfinite(start["sigma"])
    first = np.array([-40.0, np.log(8.0)]) if far else np.array([start["mu"], np.log(start["sigma"])])

    def log_survival(at: Floats, v: Floats) -> Floats:
        sigma = np.exp(at[1])
        return log_ndtr((at[0] - np.log(v)) / sigma) - log_ndtr(at[0] / sigma)

    at, density = _rounded(x, xmin, log_survival, first)
    return Shape({"mu": float(at[0]), "sigma": float(np.exp(at[1]))}, density)


def whole_truncated_power_law(x: Floats, xmin: float, alpha: float) -> Shape:
    """p(x) = x^-alpha exp(-rate (x - xmin)) / Z, rate >= 0; Z a sum of 2,000 terms and an integral."""
    mean_log, mean_gap = float(np.log(x).mean()), float((x - xmin).mean())

    def cost(at: Floats) -> float:
        rate = float(np.exp(min(at[1], 50.0)))
        return at[0] * mean_log + rate * mean_gap + _log_total(float(at[0]), rate, xmin)

    starts = [np.array([alpha, np.log(r / max(mean_gap, 1.0))]) for r in (1e-3, 0.3)]
    found = min((_simplex(cost, start) for start in starts), key=cost)
    a, rate = float(found[0]), float(np.exp(found[1]))
    density = -a * np.log(x) - rate * (x - xmin) - _log_total(a, rate, xmin)
    plain = whole_power_law(x, xmin, alpha)
    if density.sum() <= plain.log_density.sum():
        return Shape({"alpha": alpha, "rate": 0.0}, plain.log_density)
    return Shape({"alpha": a, "rate": rate * xmin}, density)


def whole_shape(name: str, x: Floats, xmin: float, alpha: float) -> Shape:
    """The alternative of that name, fitted to whole numbers x >= xmin, [n]."""
    if name == "truncated_power_law":
        return whole_truncated_power_law(x, xmin, alpha)
    fits = {"exponential": whole_exponential, "weibull": whole_weibull, "lognormal": whole_lognormal}
    return fits[name](x, xmin)


def _rounded(x: Floats, xmin: float, log_survival: _LogSurvival, start: Floats) -> tuple[Floats, Floats]:
    """(parameters of the highest likelihood, ln p of each value), over the distinct values."""
    values, index, counts = np.unique(x, return_inverse=True, return_counts=True)
    lower, upper = ((values + d) / (xmin - 0.5) for d in (-0.5, 0.5))

    def density(at: Floats) -> Floats:
        with np.errstate(all="ignore"):
            above, past = log_survival(at, lower), log_survival(at, upper)
            return above + np.log(-np.expm1(past - above))

    def cost(at: Floats) -> float:
        total = float(counts @ density(at))
        return -total if np.isfinite(total) else np.inf

    at = _simplex(cost, start)
    return at, density(at)[index]


def _simplex(cost: Callable[[Floats], float], start: Floats) -> Floats:
    options = {"xatol": 1e-9, "fatol": 1e-11, "maxiter": 4000, "maxfev": 4000, "adaptive": True}
    found = minimize(cost, start, method="Nelder-Mead", options=options)
    return minimize(cost, found.x, method="Nelder-Mead", options=options).x


def _log_total(alpha: float, rate: float, xmin: float) -> float:
    """ln Σ x^-alpha exp(-rate (x - xmin)) over x >= xmin."""
    x = xmin + np.arange(_DIRECT)
    direct = float(np.exp(-alpha * np.log(x) - rate * (x - xmin)).sum())
    end = xmin + _DIRECT
    last = float(np.exp(-alpha * np.log(end) - rate * (end - xmin)))
    if last == 0.0:
        return float(np.log(direct))
    log_integral = truncated_moments(alpha, rate * end)[0] + (1.0 - alpha) * np.log(end) + rate * xmin
    rest = float(np.exp(log_integral)) + last / 2 + last * (alpha / end + rate) / 12
    return float(np.log(direct + rest))
