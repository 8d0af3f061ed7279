"""Prediction of a run's later performance from its first steps, scored against what came."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InsufficientDataError
from .curve import CurveFit, fit_curve
from .curve_points import MIN_POINTS, check_points
from .jsonable import jsonable

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class CurveForecast:
    """A fit on the first points and its forecast of the others.

    points: frame of step, entropy, performance, mean, low, high of the points forecast. rmse over them,
    final_error (forecast less performance) at the last; coverage: share inside the interval, None where it
    is withheld; last_value_rmse: of the last performance fitted, held still.
    """

    fit: CurveFit
    points: pd.DataFrame = field(repr=False)
    rmse: float
    final_error: float
    coverage: float | None
    last_value_rmse: float

    def summary(self) -> str:
        """The forecast in words; the first line holds its error and coverage."""
        inside = (
            f"interval withheld: {self.fit.withheld}"
            if self.coverage is None
            else f"{self.coverage:.0%} inside the {100 * self.fit.level:g} % interval, conditional on the law"
        )
        first = (
            f"From the first {self.fit.n_points} points the other {len(self.points)} are forecast with RMSE "
            f"{self.rmse:.3g} (last value held: {self.last_value_rmse:.3g}); {inside}."
        )
        return "\n".join(
            [first, f"At the last step the error is {self.final_error:+.3g}.", self.fit.summary()]
        )

    def to_dict(self) -> dict[str, Any]:
        """The forecast as plain JSON values; None for what is missing."""
        return jsonable(
            {
                "fit": self.fit.to_dict(),
                "points": self.points,
                "rmse": self.rmse,
                "final_error": self.final_error,
                "coverage": self.coverage,
                "last_value_rmse": self.last_value_rmse,
            }
        )


def forecast_curve(
    entropy: ArrayLike,
    performance: ArrayLike,
    *,
    first: int,
    steps: ArrayLike | None = None,
    method: str = "auto",
    level: float = 0.95,
) -> CurveForecast:
    """Fit R = -a exp(H) + b on the `first` points by step and forecast the rest at their entropies.

    entropy [m] nats, performance [m], steps [m]; arXiv 2505.22617, section 2.4, fits 36 steps of 236. From
    the steep part onto the flat one is the easy direction: compare with last_value_rmse.
    Raises InsufficientDataError where `first` leaves too few points on either side.
    """
    points = check_points(entropy, performance, steps=steps)
    if not MIN_POINTS <= first < len(points):
        raise InsufficientDataError(
            f"first={first} of {len(points)} points: fit at least {MIN_POINTS} and leave at least one to "
            "forecast"
        )
    h, r, t = points.entropy, points.performance, points.steps
    fit = fit_curve(h[:first], r[:first], steps=t[:first], method=method, level=level)
    frame = fit.forecast(h[first:], steps=t[first:])
    frame.insert(0, "step", t[first:])
    frame.insert(1, "entropy", h[first:])
    frame.insert(2, "performance", r[first:])
    errors = frame["mean"].to_numpy() - r[first:]
    inside = (frame["low"] <= frame["performance"]) & (frame["performance"] <= frame["high"])
    return CurveForecast(
        fit=fit,
        points=frame,
        rmse=float(np.sqrt(np.mean(errors**2))),
        final_error=float(errors[-1]),
        coverage=None if fit.withheld else float(inside.mean()),
        last_value_rmse=float(np.sqrt(np.mean((r[first:] - r[first - 1]) ** 2))),
    )
