"""The law over several runs: random effects of a, b and the ceiling, and their trend with model size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t as student

from ..errors import InsufficientDataError, InvalidInputError
from .curve import CurveFit
from .jsonable import jsonable

TERMS = ("a", "b", "ceiling")


@dataclass(frozen=True, eq=False)
class CurvePool:
    """Several runs of one setting as draws from a distribution of curves.

    `terms`, one row a term: mean over runs with its interval (low, high), the standard deviation `tau`
    between runs beyond each fit's own error, `i2` (share of the variance that is between runs), and the
    interval of a new run (new_low, new_high). Conditional on the law, as each fit is. `n_runs` pooled of
    `n_given`.
    """

    n_runs: int
    n_given: int
    level: float
    terms: pd.DataFrame
    warnings: tuple[str, ...]

    def summary(self) -> str:
        """One line a term, then the warnings."""
        lines = [_sentence(row, self.n_runs) for row in self.terms.itertuples()]
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])

    def to_dict(self) -> dict[str, Any]:
        """All figures, JSON-ready."""
        return jsonable({name: getattr(self, name) for name in self.__dataclass_fields__})


def _sentence(row: Any, n_runs: int) -> str:
    new = f"; a new run {row.new_low:.3g} to {row.new_high:.3g}" if np.isfinite(row.new_low) else ""
    mean = f"{row.mean:.3g} ({row.low:.3g} to {row.high:.3g})"
    return f"{row.term}: {mean} over {n_runs} runs; sd between runs {row.tau:.2g}{new}."


def pool_curves(fits: Sequence[CurveFit], *, level: float = 0.95) -> CurvePool:
    """Random effects over the fits of several runs: mean, spread between runs, and a new run's range.

    tau² after DerSimonian and Laird (1986); the interval of the mean after Hartung and Knapp (2001),
    Student's t with runs - 1 degrees, so that few runs give a wide one; that of a new run adds tau² (Higgins
    et al. 2009, runs - 2 degrees). Fits whose interval is withheld are left out, with a warning.
    Raises InsufficientDataError with fewer than 2 fits to pool.
    """
    used = [fit for fit in fits if fit.withheld is None]
    if len(used) < 2:
        raise InsufficientDataError(
            f"{len(used)} of {len(fits)} fits have an interval; pooling needs 2 (the others withhold theirs)"
        )
    left_out = len(fits) - len(used)
    notes = [f"{left_out} of {len(fits)} fits withhold their interval and are left out"] if left_out else []
    if len(used) == 2:
        notes.append("2 runs: the range of a new run cannot be told")
    rows = [_pooled(term, used, level) for term in TERMS]
    return CurvePool(len(used), len(fits), level, pd.DataFrame(rows), tuple(notes))


def _pooled(term: str, fits: Sequence[CurveFit], level: float) -> dict[str, Any]:
    effects = np.array([getattr(fit, term) for fit in fits])
    errors = np.array([getattr(fit, f"se_{term}") for fit in fits])
    k, w = len(effects), 1 / errors**2
    q = float(w @ (effects - w @ effects / w.sum()) ** 2)
    tau2 = max(0.0, (q - (k - 1)) / (w.sum() - (w**2).sum() / w.sum()))
    v = 1 / (errors**2 + tau2)
    mean = float(v @ effects / v.sum())
    error = float(np.sqrt(v @ (effects - mean) ** 2 / ((k - 1) * v.sum())))
    half = float(student.ppf((1 + level) / 2, k - 1)) * error
    new = float(student.ppf((1 + level) / 2, k - 2) * np.sqrt(tau2 + error**2)) if k > 2 else np.nan
    return {
        "term": term,
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "tau": float(np.sqrt(tau2)),
        "i2": max(0.0, 1.0 - (k - 1) / q) if q > 0 else 0.0,
        "new_low": mean - new,
        "new_high": mean + new,
    }


def size_trend(fits: Sequence[CurveFit], sizes: ArrayLike, *, level: float = 0.95) -> pd.DataFrame:
    """a, b and the ceiling against ln(model size): term = intercept + slope ln size, over the runs.

    One row a term: slope with its interval (least squares, Student's t with runs - 2 degrees), p, intercept,
    residual_sd, n. arXiv 2505.22617, section 2.4, finds a and b log-linear in the size, on five models.
    Raises InvalidInputError (lengths, sizes not positive or all alike), InsufficientDataError below 3 runs.
    """
    n = np.asarray(sizes, dtype=np.float64)
    if n.shape != (len(fits),):
        raise InvalidInputError(f"{len(fits)} fits and sizes of shape {n.shape}: give one size a fit")
    if not (np.isfinite(n) & (n > 0)).all():
        raise InvalidInputError(f"sizes must be positive numbers of parameters, got {n.min():g}")
    if len(n) < 3:
        raise InsufficientDataError(f"{len(n)} runs: a trend with an interval needs 3")
    if np.ptp(n) == 0:
        raise InvalidInputError(f"all sizes are {n[0]:g}: a trend needs models of different size")
    rows = [_trend(term, np.log(n), np.array([getattr(f, term) for f in fits]), level) for term in TERMS]
    return pd.DataFrame(rows)


def _trend(term: str, x: np.ndarray, y: np.ndarray, level: float) -> dict[str, Any]:
    import statsmodels.api as sm

    found = sm.OLS(y, sm.add_constant(x)).fit()
    low, high = found.conf_int(alpha=1 - level)[1]
    return {
        "term": term,
        "slope": float(found.params[1]),
        "low": float(low),
        "high": float(high),
        "p": float(found.pvalues[1]),
        "intercept": float(found.params[0]),
        "residual_sd": float(np.sqrt(found.scale)),
        "n": len(y),
    }
