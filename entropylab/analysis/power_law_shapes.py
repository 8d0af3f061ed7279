"""What a power law is held against above the same threshold: exponential, Weibull, lognormal, truncated.

With v = x/xmin >= 1 and y = ln v, a power law is exp(-b y), b = alpha - 1. The lognormal (a normal in y, cut
at 0), the Weibull and the truncated power law each hold it as a limit, so their likelihood is never lower;
the exponential does not. Every fit is a maximum in one or two parameters, most of it from sums over the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import erfcx, log_ndtr

from .power_law_scan import Floats

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(256)
_FAR = -50.0
LIMIT = 1e-8
"""Below this the extra parameter counts as 0 and the alternative is the power law itself."""


@dataclass(frozen=True)
class Shape:
    """A fitted alternative: its parameters, and ln of its density of v = x/xmin at each value, [n]."""

    parameters: dict[str, float]
    log_density: Floats


def power_law(v: Floats) -> Shape:
    """p(v) = b v^(-b-1), b = alpha - 1 = 1/mean(ln v)."""
    y = np.log(v)
    b = 1.0 / float(y.mean())
    return Shape({"alpha": b + 1.0}, np.log(b) - (b + 1.0) * y)


def exponential(v: Floats) -> Shape:
    """p(v) = rate · exp(-rate (v - 1)); rate in units of 1/xmin."""
    rate = 1.0 / float((v - 1.0).mean())
    return Shape({"rate": rate}, np.log(rate) - rate * (v - 1.0))


def weibull(v: Floats) -> Shape:
    """p(v) = shape · c · v^(shape-1) exp(-c (v^shape - 1)), the stretched exponential for shape < 1.

    At a given shape, c = 1/mean(v^shape - 1); the shape is found along that profile.
    """
    y = np.log(v)
    mean = float(y.mean())

    def cost(shape: float) -> float:
        grown = float(np.expm1(shape * y).mean())
        return -np.log(shape / grown) - (shape - 1.0) * mean if np.isfinite(grown) else np.inf

    bounds = (LIMIT, 0.999 * 600.0 / float(y.max()))
    shape = _lowest(cost, *bounds)
    if shape <= 10 * LIMIT:
        return Shape({"shape": 0.0, "scale": float("nan")}, power_law(v).log_density)
    c = 1.0 / float(np.expm1(shape * y).mean())
    density = np.log(shape * c) + (shape - 1.0) * y - c * np.expm1(shape * y)
    return Shape({"shape": shape, "scale": float(c ** (-1.0 / shape))}, density)


def lognormal(v: Floats) -> Shape:
    """y = ln v as a normal (mu, sigma) cut at 0: p(v) = phi((y - mu)/sigma)/(v sigma Phi(mu/sigma)).

    With t = mu/sigma, mean(y²)/mean(y)² falls from 2 (a power law) at t = -inf to 1: one equation for t.
    """
    y = np.log(v)
    first, second = float(y.mean()), float((y**2).mean())
    wanted = second / first**2

    def excess(t: float) -> float:
        return _moment_ratio(t) - wanted

    lowest = -1e4
    if excess(lowest) <= 0:
        return Shape({"mu": -np.inf, "sigma": np.inf}, power_law(v).log_density)
    t = float(brentq(excess, lowest, 1e3, xtol=1e-12, rtol=1e-12))
    sigma = first / _hazard_sum(t)
    mu = t * sigma
    z = (y - mu) / sigma
    density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi) - np.log(sigma) - y - log_ndtr(t)
    return Shape({"mu": mu, "sigma": sigma}, density)


def truncated_power_law(v: Floats) -> Shape:
    """p(v) = v^-alpha exp(-rate v)/Z(alpha, rate), rate >= 0 in units of 1/xmin; concave in both."""
    y, mean_y, mean_v = np.log(v), float(np.log(v).mean()), float(v.mean())
    start = np.array([1.0 + 1.0 / mean_y, 0.01 / mean_v])

    def cost(at: Floats) -> tuple[float, Floats]:
        log_z, e_y, e_v = truncated_moments(at[0], at[1])
        return float(at[0] * mean_y + at[1] * mean_v + log_z), np.array([mean_y - e_y, mean_v - e_v])

    scale = np.array([1.0, 1.0 / mean_v])

    def scaled(at: Floats) -> tuple[float, Floats]:
        value, slope = cost(at * scale)
        return value, slope * scale

    bounds = [(-50.0, 100.0), (LIMIT, None)]
    options = {"maxiter": 500, "ftol": 1e-15, "gtol": 1e-10}
    found = minimize(scaled, start / scale, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    alpha, rate = (found.x * scale).tolist()
    plain = power_law(v)
    density = -alpha * y - rate * v - truncated_moments(alpha, rate)[0]
    if density.sum() <= plain.log_density.sum():
        return Shape({**plain.parameters, "rate": 0.0}, plain.log_density)
    return Shape({"alpha": alpha, "rate": rate}, density)


SHAPES: dict[str, Callable[[Floats], Shape]] = {
    "exponential": exponential,
    "weibull": weibull,
    "lognormal": lognormal,
    "truncated_power_law": truncated_power_law,
}
NESTED = ("truncated_power_law",)
"""Alternatives that hold the power law at a finite parameter, so that 2·LR is chi-squared."""
LIMITED = ("weibull", "lognormal", *NESTED)
"""Alternatives that hold the power law, as a limit at least: their likelihood is never lower."""


def _lowest(cost: Callable[[float], float], low: float, high: float) -> float:
    """The minimum of a unimodal cost between two positive numbers, on a log scale."""
    grid = np.geomspace(low, high, 60)
    values = np.array([cost(x) for x in grid])
    best = int(np.nanargmin(values))
    ends = np.log(grid[max(best - 1, 0)]), np.log(grid[min(best + 1, len(grid) - 1)])
    found = minimize_scalar(
        lambda x: cost(float(np.exp(x))), bounds=ends, method="bounded", options={"xatol": 1e-10}
    )
    return float(np.exp(found.x)) if found.fun <= values[best] else float(grid[best])


def _hazard_sum(t: float) -> float:
    """t + phi(t)/Phi(t): the mean of a standard normal around t, cut at 0, in units of sigma."""
    if t < _FAR:  # the sum cancels; its series in 1/t²
        u = 1.0 / t**2
        return -(1.0 - 2.0 * u + 10.0 * u**2 - 74.0 * u**3) / t
    return t + float(np.sqrt(2 / np.pi) / erfcx(-t / np.sqrt(2))) if t < 25.0 else t


def _moment_ratio(t: float) -> float:
    """E[y²]/E[y]² of the cut normal, from 2 at t = -inf down to 1."""
    mean = _hazard_sum(t)
    if t < _FAR:
        u = 1.0 / t**2
        return 2.0 - 2.0 * u + 18.0 * u**2 - 210.0 * u**3
    return (1.0 + t * mean) / mean**2


def truncated_moments(alpha: float, rate: float) -> tuple[float, float, float]:
    """(ln Z, E[ln v], E[v]) of v^-alpha exp(-rate v) over v >= 1, by quadrature in ln v."""
    peak = max(0.0, np.log(max((1.0 - alpha) / rate, 1.0)))
    end = peak + np.log1p(60.0 / rate)
    decay = alpha - 1.0
    if decay > 0:
        end = min(end, 60.0 / decay)
    t = 0.5 * end * (_NODES + 1.0)
    log_f = -decay * t - rate * np.exp(t)
    top = float(log_f.max())
    f = _WEIGHTS * np.exp(log_f - top)
    total = float(f.sum())
    log_z = top + np.log(0.5 * end * total)
    return log_z, float(f @ t) / total, float(f @ np.exp(t)) / total
