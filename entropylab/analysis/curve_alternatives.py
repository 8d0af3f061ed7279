"""The law against other curve forms: AICc on an AR(1) likelihood, and error of prediction from a part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InsufficientDataError
from .curve_entropy import entropy_trend
from .curve_forms import FORMS, Form
from .curve_points import Points, check_points
from .curve_separable import SeparableFit, fit_separable
from .jsonable import jsonable
from .smoothing import aicc, usual_gap

if TYPE_CHECKING:
    import pandas as pd

SHARES = (0.10, 0.15, 0.25, 0.50)
"""Shares of the points from which the rest is predicted."""
MIN_PART = 8
_SHOWN = ("name", "formula", "ceiling", "rmse", "rho", "aicc", "delta_aicc")
_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True)
class Alternative:
    """One form. rmse: of all points by least squares. rho, aicc, delta_aicc: on the AR(1) likelihood.

    early[share]: RMSE of the rest, predicted from that share of the first points (the easy direction: from
    the steep part onto the flat one); late[share]: from the last points back. None where a part is under 8.
    """

    name: str
    formula: str
    parameters: dict[str, float]
    ceiling: float
    rmse: float
    rho: float | None
    aicc: float | None
    delta_aicc: float | None
    early: dict[float, float | None]
    late: dict[float, float | None]


@dataclass(frozen=True)
class Alternatives:
    """The forms, the smallest AICc first and the last value (no curve at all) at the end."""

    rows: tuple[Alternative, ...]

    def __getitem__(self, name: str) -> Alternative:
        """The form of that name."""
        return next(row for row in self.rows if row.name == name)

    def to_frame(self) -> pd.DataFrame:
        """One row a form; the errors of prediction in columns early_<share> and late_<share>."""
        import pandas as pd

        return pd.DataFrame([_flat(row) for row in self.rows])

    def summary(self) -> str:
        """The ranking in words; the first line says how the law compares with the best other form."""
        law = self["law"]
        other = next(row for row in self.rows if row.name != "law" and row.aicc is not None)
        gap = (other.aicc or 0.0) - (law.aicc or 0.0)
        verdict = "better" if gap > 2 else "worse" if gap < -2 else "no different"
        first = (
            f"The law's AICc is {abs(gap):.1f} {'below' if gap >= 0 else 'above'} that of the form "
            f"{other.name!r} ({other.formula}): {verdict}; "
            f"ceilings {law.ceiling:.4g} and {other.ceiling:.4g}."
        )
        return "\n".join([first, *(_line(row) for row in self.rows)])

    def to_dict(self) -> dict[str, Any]:
        """The rows as plain JSON values; shares become text keys."""
        return jsonable({"rows": self.rows})


def compare_forms(
    entropy: ArrayLike, performance: ArrayLike, *, steps: ArrayLike | None = None
) -> Alternatives:
    """Fit the law, linear, power, free-rate exponential and logistic forms, and the last value.

    entropy [m] nats (smoothed over the steps, as fit_curve does by default), performance [m], steps [m].
    AICc = -2 log L + 2k + 2k(k+1)/(m-k-1) with AR(1) noise exp(-gap/tau), k counting rho and the variance.
    Raises what fit_curve raises for points that cannot be fitted.
    """
    points = check_points(entropy, performance, steps=steps)
    if len(points) < MIN_PART:
        raise InsufficientDataError(f"comparing forms needs {MIN_PART} points, {len(points)} given")
    trend = entropy_trend(points)
    h = points.entropy if trend is None else trend.values
    likelihoods = {form.name: _profile(form, h, points) for form in FORMS}
    best = min(found.criterion for found in likelihoods.values())
    rows = [_alternative(form, h, points, likelihoods[form.name], best) for form in FORMS]
    return Alternatives((*sorted(rows, key=lambda row: row.delta_aicc or 0.0), _last_value(points)))


@dataclass(frozen=True)
class _Likelihood:
    rho: float
    criterion: float


def _profile(form: Form, h: np.ndarray, points: Points) -> _Likelihood:
    """AICc at the rho in [0, 0.99] of the highest AR(1) likelihood: a coarse grid, then a golden section."""
    gaps = np.maximum(np.diff(points.steps) / usual_gap(points.steps), 0.01)
    start = [tuple(fit_separable(form.model, h, points.performance, form.starts).theta)]
    scale, k = float(np.abs(points.performance).max()), np.array([len(form.parameters) + 2])

    def criterion(rho: float) -> float:
        sd = np.sqrt(1.0 - rho ** (2.0 * gaps))
        fit = fit_separable(form.model, h, points.performance, start, whiten=_whitener(rho**gaps, sd))
        return float(aicc(np.array([fit.rss]), len(h), k, scale=scale)[0] + 2.0 * np.log(sd).sum())

    grid = np.append(np.arange(0.0, 0.95, 0.1), 0.99)
    values = [criterion(rho) for rho in grid]
    i = int(np.argmin(values))
    low, high = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
    rho, value = _golden_section(criterion, float(low), float(high))
    return _Likelihood(rho, value) if value < values[i] else _Likelihood(float(grid[i]), values[i])


def _whitener(decay: np.ndarray, sd: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Rows to AR(1) innovations of variance 1: (y_t - rho^gap y_{t-1}) / sqrt(1 - rho^{2 gap})."""

    def whiten(rows: np.ndarray) -> np.ndarray:
        shape = (-1,) + (1,) * (rows.ndim - 1)
        innovations = (rows[1:] - decay.reshape(shape) * rows[:-1]) / sd.reshape(shape)
        return np.concatenate([rows[:1], innovations])

    return whiten


def _golden_section(f: Callable[[float], float], low: float, high: float) -> tuple[float, float]:
    """The minimum of f between low and high, to about 1e-3, and its value."""
    x = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
    y = [f(x[0]), f(x[1])]
    while high - low > 1e-3:
        if y[0] <= y[1]:
            high, x, y = x[1], [x[1] - _GOLDEN * (x[1] - low), x[0]], [np.nan, y[0]]
            y[0] = f(x[0])
        else:
            low, x, y = x[0], [x[1], x[0] + _GOLDEN * (high - x[0])], [y[1], np.nan]
            y[1] = f(x[1])
    return (x[0], y[0]) if y[0] <= y[1] else (x[1], y[1])


def _alternative(
    form: Form, h: np.ndarray, points: Points, likelihood: _Likelihood, best: float
) -> Alternative:
    r = points.performance
    fit = fit_separable(form.model, h, r, form.starts)
    return Alternative(
        name=form.name,
        formula=form.formula,
        parameters=dict(zip(form.parameters, [*fit.coef.tolist(), *fit.theta.tolist()], strict=True)),
        ceiling=float(_predict(form, fit, np.zeros(1))[0]),
        rmse=float(np.sqrt(fit.rss / len(r))),
        rho=likelihood.rho,
        aicc=likelihood.criterion,
        delta_aicc=likelihood.criterion - best,
        early={share: _part_error(form, h, r, share) for share in SHARES},
        late={share: _part_error(form, h[::-1], r[::-1], share) for share in SHARES},
    )


def _last_value(points: Points) -> Alternative:
    """What no curve at all would say: the performance stays where it was last seen."""
    r = points.performance
    return Alternative(
        name="last value",
        formula="R = last R seen",
        parameters={},
        ceiling=float(r[-1]),
        rmse=float(np.sqrt(np.mean((r - r[-1]) ** 2))),
        rho=None,
        aicc=None,
        delta_aicc=None,
        early={share: _hold_error(r, share) for share in SHARES},
        late={share: _hold_error(r[::-1], share) for share in SHARES},
    )


def _part_error(form: Form, h: np.ndarray, r: np.ndarray, share: float) -> float | None:
    """RMSE of the points after a part, predicted from that part alone."""
    n = _part(len(r), share)
    if n < MIN_PART:
        return None
    fit = fit_separable(form.model, h[:n], r[:n], form.starts)
    return _rms(r[n:] - _predict(form, fit, h[n:]))


def _hold_error(r: np.ndarray, share: float) -> float | None:
    n = _part(len(r), share)
    return _rms(r[n:] - r[n - 1]) if n >= MIN_PART else None


def _part(m: int, share: float) -> int:
    return int(np.ceil(share * m))


def _predict(form: Form, fit: SeparableFit, h: np.ndarray) -> np.ndarray:
    return form.model.basis(h, fit.theta) @ fit.coef


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _flat(row: Alternative) -> dict[str, Any]:
    plain = {name: getattr(row, name) for name in _SHOWN}
    parts = {f"early_{share:g}": error for share, error in row.early.items()}
    return plain | parts | {f"late_{share:g}": error for share, error in row.late.items()}


def _line(row: Alternative) -> str:
    criterion = "      -" if row.delta_aicc is None else f"{row.delta_aicc:7.1f}"
    errors = [row.early[0.25], row.late[0.25]]
    early, late = ("-" if error is None else f"{error:.3g}" for error in errors)
    return (
        f"{row.name:12} {row.formula:28} delta AICc {criterion}, RMSE {row.rmse:.3g}; "
        f"from the first quarter {early}, from the last {late}"
    )
