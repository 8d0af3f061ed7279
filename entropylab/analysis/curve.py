"""The entropy-performance law R = -a exp(H) + b (arXiv 2505.22617, eq. 6) with honest uncertainty."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InvalidInputError, UnknownNameError
from .curve_checks import (
    Signs,
    data_refusals,
    fit_refusals,
    form_band_stands,
    is_constant,
    warn_independence,
    warn_points,
    warn_slope,
)
from .curve_entropy import entropy_trend
from .curve_grid import GridFit, Posterior, fit_grid
from .curve_lines import gls_line, huber_line, ols_line
from .curve_points import Points, check_points, finite_vector
from .curve_text import curve_dict, curve_summary
from .smoothing import Smoothing, usual_gap

if TYPE_CHECKING:
    import pandas as pd

    from .curve_alternatives import Alternatives

METHODS = ("grid", "ols", "gls", "huber")
_TERMS = {"a": (0.0, -1.0), "b": (1.0, -1.0), "ceiling": (1.0, 0.0)}
_TERM_ROWS = np.array(list(_TERMS.values()))


@dataclass(frozen=True, eq=False)
class CurveFit:
    """A fitted law R = -a exp(H) + b; H in nats, R in the unit of the performance given.

    ceiling = b - a is the performance at H = 0. se_*, intervals and form_band are conditional: the interval
    on the law itself, the form band (low, high of the ceiling) on one of five curve shapes. Where `withheld`
    gives a reason, the intervals are None and a, b, se_* are those of the ordinary least-squares line.
    rho is the noise's autocorrelation between neighbouring steps, ess = m (1 - rho)/(1 + rho).
    rmse, residual_sd and r2 are of the points around the line; r2 is None where performance is constant.
    binomial_sd is the sampling error that n_problems explains. The points are sorted by step. left_out: the
    steps of a run that were evaluated and hold no entropy, as the last one where training ends there.
    performance_name: the metric of a run that R is.
    """

    method: str
    level: float
    a: float
    b: float
    ceiling: float
    se_a: float
    se_b: float
    se_ceiling: float
    intervals: dict[str, tuple[float, float] | None]
    form_band: tuple[float, float] | None
    withheld: str | None
    warnings: tuple[str, ...]
    r2: float | None
    rmse: float
    residual_sd: float
    rho: float
    ess: float
    extrapolation: float
    curvature_p: float | None
    long_memory_share: float | None
    smoothing_degree: int | None
    binomial_sd: float | None
    entropy: np.ndarray = field(repr=False)
    performance: np.ndarray = field(repr=False)
    steps: np.ndarray = field(repr=False)
    line: Posterior = field(repr=False)
    grid: GridFit | None = field(repr=False)
    left_out: tuple[int, ...] = ()
    performance_name: str | None = None

    @property
    def n_points(self) -> int:
        """Number of points m."""
        return len(self.steps)

    @property
    def effective_points(self) -> float:
        """The ess, at most the number of points: anticorrelated noise does not add points."""
        return min(self.ess, self.n_points)

    def predict(self, entropy: ArrayLike) -> np.ndarray:
        """R = -a exp(H) + b at each entropy, in the shape given."""
        return self.b - self.a * np.exp(np.asarray(entropy, dtype=float))

    def forecast(
        self, entropy: ArrayLike, *, steps: ArrayLike | None = None, level: float | None = None
    ) -> pd.DataFrame:
        """New observations at later steps: frame of mean, low, high, one row an entropy.

        The interval holds the uncertainty of the line and of the noise. steps: after the last one fitted;
        without them one usual gap apart. level: that of the fit, if None. NaN bounds where withheld.
        """
        h = finite_vector("entropy", entropy)
        gaps = self._gaps(len(h), steps)
        mixture = self.line.observation_at(np.expm1(h), gaps)
        level = self.level if level is None else check_level(level)
        return _frame(mixture.mean(), self._bounds(mixture, level))

    def band(self, entropy: ArrayLike) -> pd.DataFrame:
        """The curve with its uncertainty: frame of mean, low, high, form_low, form_high, one row an entropy.

        low, high: interval of the line, conditional on the law; form_low, form_high: over the five shapes.
        """
        h = finite_vector("entropy", entropy)
        frame = _frame(self.predict(h), self._bounds(self.line.line_at(np.expm1(h)), self.level))
        shown = self.grid is not None and self.form_band is not None
        form = self.grid.form_line_at(h).interval(self.level) if shown and self.grid else _missing(len(h))
        return frame.assign(form_low=form[0], form_high=form[1])

    @cached_property
    def alternatives(self) -> Alternatives:
        """The law against a line in H, a power, a free-rate exponential, a logistic and the last value."""
        from .curve_alternatives import compare_forms

        return compare_forms(self.entropy, self.performance, steps=self.steps)

    def summary(self) -> str:
        """The fit in words; the first line is one sentence with the ceiling and its uncertainty."""
        return curve_summary(self)

    def to_dict(self) -> dict[str, Any]:
        """The fit as plain JSON values; None for what is missing."""
        return curve_dict(self)

    def plot(self, ax: Any = None) -> Any:
        """Draw points, line, interval and form band on matplotlib axes (new if None); returns the axes."""
        from ..plots.curve import draw_curve

        return draw_curve(self, ax)

    def _gaps(self, n: int, steps: ArrayLike | None) -> np.ndarray:
        if steps is None:
            return np.arange(1.0, n + 1.0)
        later = finite_vector("steps", steps)
        if len(later) != n:
            raise InvalidInputError(f"{n} entropies and {len(later)} steps to forecast: give one step each")
        if n and later.min() <= self.steps[-1]:
            raise InvalidInputError(
                f"step {later.min():g} is not after the last fitted step {self.steps[-1]:g}: "
                "forecast later steps, or take band() for the line itself"
            )
        return (later - self.steps[-1]) / usual_gap(self.steps)

    def _bounds(self, mixture: Any, level: float) -> tuple[np.ndarray, np.ndarray]:
        if self.withheld is not None or not len(mixture.location):
            return _missing(len(mixture.location))
        return mixture.interval(level)


def fit_curve(
    entropy: ArrayLike,
    performance: ArrayLike,
    *,
    n_problems: ArrayLike | None = None,
    steps: ArrayLike | None = None,
    method: str = "auto",
    level: float = 0.95,
) -> CurveFit:
    """Fit R = -a exp(H) + b (arXiv 2505.22617, eq. 6) to entropy [m] in nats and performance [m].

    method: "grid" (what "auto" takes: Bayesian grid over AR(1) + white noise, on H smoothed over the steps),
    "ols", "gls" (AR(1)) or "huber", which take H as given. steps [m]: the points' steps, in any order;
    without them the order given, equally spaced. n_problems: problems behind each accuracy.
    Raises InvalidInputError or InsufficientDataError where nothing can be fitted; where only the interval
    cannot be trusted it is withheld and the fit says why.
    """
    method, level = _check_method(method), check_level(level)
    points = check_points(entropy, performance, steps=steps, n_problems=n_problems)
    smoothing = entropy_trend(points) if method == "grid" else None
    used = points.entropy if smoothing is None else smoothing.values
    refusals = data_refusals(Signs(np.exp(used), points.performance))
    grid = None if refusals else fit_grid(points.steps, used, points.performance)
    return complete_fit(method, level, points, smoothing, grid)


def complete_fit(
    method: str, level: float, points: Points, smoothing: Smoothing | None, grid: GridFit | None
) -> CurveFit:
    """The fit of checked points, given their grid; None where the points themselves refuse an interval."""
    used = points.entropy if smoothing is None else smoothing.values
    signs, refusals = _judge(points, used, grid, allows_memory=method == "grid")
    line, rho = _line("ols" if refusals else method, points, grid)
    estimates = _estimates(line, level, withheld=bool(refusals))
    return CurveFit(
        method=method,
        level=level,
        **estimates,
        **_spread(line, points),
        form_band=_form_band(grid, level) if not refusals or form_band_stands(signs) else None,
        withheld="; ".join(refusals) or None,
        warnings=(*_warnings(method, signs, grid), *warn_slope(estimates["a"], estimates["intervals"]["a"])),
        rho=rho,
        ess=len(points) * (1.0 - rho) / (1.0 + rho),
        extrapolation=signs.extrapolation(),
        curvature_p=signs.curvature_p,
        long_memory_share=signs.long_memory,
        smoothing_degree=None if smoothing is None else smoothing.degree,
        entropy=points.entropy,
        performance=points.performance,
        steps=points.steps,
        line=line,
        grid=grid,
    )


def check_level(level: float) -> float:
    """The level of an interval, between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise InvalidInputError(f"level is {level!r}: give a probability between 0 and 1, such as 0.95")
    return float(level)


def _check_method(method: str) -> str:
    if method == "auto":
        return "grid"
    if method not in METHODS:
        raise UnknownNameError(f"method {method!r} does not exist: take one of auto, {', '.join(METHODS)}")
    return method


def _judge(
    points: Points, entropy: np.ndarray, grid: GridFit | None, *, allows_memory: bool
) -> tuple[Signs, list[str]]:
    """What the checks see, and the reasons to withhold the interval."""
    signs = Signs(np.exp(entropy), points.performance, allows_memory=allows_memory)
    if grid is None:
        return signs, data_refusals(signs)
    memory = grid.law.long_memory_share(len(points))
    signs = replace(signs, curvature_p=grid.curvature_p, long_memory=memory)
    return signs, fit_refusals(signs)


def _line(method: str, points: Points, grid: GridFit | None) -> tuple[Posterior, float]:
    """The line of the method and the noise's autocorrelation between neighbouring steps."""
    u, performance = np.expm1(points.entropy), points.performance
    if method == "grid" and grid is not None:
        return grid.law, grid.law.lag_one()
    if method == "gls":
        return gls_line(u, performance)
    line = huber_line(u, performance) if method == "huber" else ols_line(u, performance)
    return line, _lag_one(performance - line.line_at(u).mean())


def _lag_one(residuals: np.ndarray) -> float:
    """Sample autocorrelation of neighbouring residuals; 0 where they are all 0."""
    total = float(residuals @ residuals)
    return float(residuals[1:] @ residuals[:-1]) / total if total > 0 else 0.0


def _estimates(line: Posterior, level: float, *, withheld: bool) -> dict[str, Any]:
    terms = line.linear(_TERM_ROWS)
    values = dict(zip(_TERMS, terms.mean().tolist(), strict=True))
    errors = {f"se_{name}": se for name, se in zip(_TERMS, terms.standard_error().tolist(), strict=True)}
    if withheld:
        return {**values, **errors, "intervals": dict.fromkeys(_TERMS)}
    bounds = zip(*(bound.tolist() for bound in terms.interval(level)), strict=True)
    return {**values, **errors, "intervals": dict(zip(_TERMS, bounds, strict=True))}


def _spread(line: Posterior, points: Points) -> dict[str, Any]:
    """How far the points lie from the line, at the entropies given."""
    residuals = points.performance - line.line_at(np.expm1(points.entropy)).mean()
    rss = float(residuals @ residuals)
    around_mean = points.performance - points.performance.mean()
    constant = is_constant(points.performance)
    return {
        "r2": None if constant else 1.0 - rss / float(around_mean @ around_mean),
        "rmse": float(np.sqrt(rss / len(points))),
        "residual_sd": float(np.sqrt(rss / (len(points) - 2))),
        "binomial_sd": points.binomial_sd(),
    }


def _form_band(grid: GridFit | None, level: float) -> tuple[float, float] | None:
    """The ceiling over the five shapes."""
    if grid is None:
        return None
    low, high = grid.form_line_at(np.zeros(1)).interval(level)
    return float(low[0]), float(high[0])


def _warnings(method: str, signs: Signs, grid: GridFit | None) -> list[str]:
    warnings = warn_points(signs)
    if grid is not None and method != "grid":
        warnings += warn_independence(method, grid.law.lag_one())
    return warnings


def _frame(mean: np.ndarray, bounds: tuple[np.ndarray, np.ndarray]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"mean": mean, "low": bounds[0], "high": bounds[1]})


def _missing(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(n, np.nan), np.full(n, np.nan)
