"""Does the covariance predict what the entropy does? Predicted against observed change, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import InsufficientDataError
from ..record.reader import Run
from .cluster_bootstrap import Floats
from .curve_data import interventions
from .dynamics_series import OBSERVED, PREDICTORS, dynamics_series
from .jsonable import jsonable
from .robust_line import MIN_BLOCKS, robust_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WINDOWS = (1, 5, 10, 25)
"""Steps over which change and prediction are summed before they are compared."""

_SHUFFLES = 199
_AUTOMATIC = 0.9
"""Correlation of the sums in random order above which their agreement tells nothing."""


@dataclass(frozen=True, eq=False)
class Dynamics:
    """What `entropy_dynamics` found.

    `series`: one row a step (`dynamics_series.dynamics_series`): entropy, its drops, and the predictors.
    `fits`: one row an (observed, predictor, window): drop = intercept + slope · covariance, both summed over
    windows of that many steps that do not overlap. slope is the implied step size, nats of entropy a unit of
    covariance, with its interval (autocorrelation-robust) and p; r the correlation; n windows. NaN below 12.
    `cumulative`: correlation r of the cumulated series, beside the median `shuffled_r` of predictions in
    random order: two sums that only grow agree whatever the order.
    """

    run: str
    method: str
    n_steps: int
    series: pd.DataFrame
    fits: pd.DataFrame
    cumulative: pd.DataFrame
    level: float = 0.95
    warnings: tuple[str, ...] = ()

    def fit(self, observed: str = "between", predictor: str = "token_npg", window: int = 1) -> pd.Series:
        """One row of `fits`."""
        rows = self.fits[
            (self.fits["observed"] == observed)
            & (self.fits["predictor"] == predictor)
            & (self.fits["window"] == window)
        ]
        return rows.iloc[0]

    def summary(self) -> str:
        """The plain comparison in one sentence, the best window, the cumulative trap, warnings."""
        lines = [self._sentence(observed) for observed in OBSERVED]
        sums = self.cumulative[self.cumulative["predictor"] == "token_npg"]
        for row in sums.itertuples():
            if np.isfinite(row.r):
                lines.append(f"Cumulated, {OBSERVED[row.observed].split(',')[0]}: {_of_sums(row)}.")
        return "\n".join([*(text for text in lines if text), *(f"warning: {w}" for w in self.warnings)])

    def _sentence(self, observed: str) -> str:
        rows = self.fits[(self.fits["observed"] == observed) & (self.fits["predictor"] == "token_npg")]
        shown = rows[np.isfinite(rows["slope"])]
        if shown.empty:
            return f"The drop {OBSERVED[observed]}: cannot say, fewer than {MIN_BLOCKS} steps hold both."
        parts = [
            f"{r.slope:.3g} ({r.low:.3g} to {r.high:.3g}), r = {r.r:.2f} over windows of {r.window}"
            for r in shown.itertuples()
        ]
        told, first = "; ".join(parts), shown.iloc[0]
        return (
            f"The drop {OBSERVED[observed]}, nats a unit of Cov(log π, A): {told}. Over windows of "
            f"{first['window']}: {sign_text(first)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """All figures, JSON-ready; tables as lists of rows."""
        return jsonable({name: getattr(self, name) for name in self.__dataclass_fields__})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the drop of the entropy over the covariance; needs matplotlib."""
        from ..plots.dynamics import draw_dynamics

        return draw_dynamics(self, ax)


def entropy_dynamics(run: Run, *, level: float = 0.95, seed: int = 0) -> Dynamics:
    """Compare the drop of the entropy in each step with what the covariance predicts: -ΔH ≈ η Cov.

    Forms of the prediction: `dynamics_series.PREDICTORS` (arXiv 2505.22617, theorems 1 and 2); of the drop:
    between rollouts, and on the same states where the recorder was given `entropy_after`. η is fitted, not
    assumed. Raises InsufficientDataError for a run of fewer than 3 steps with an entropy.
    """
    series = dynamics_series(run)
    known = int(np.isfinite(series["entropy"]).sum())
    if known < 3:
        raise InsufficientDataError(
            f"{run.name}: {known} steps have an entropy, the dynamics need 3; record entropy= with each step"
        )
    pairs = [(observed, predictor) for observed in OBSERVED for predictor in PREDICTORS]
    fits = [_fit(series, o, p, window, level) for o, p in pairs for window in WINDOWS]
    cumulative = [_cumulative(series, o, p, seed) for o, p in pairs]
    return Dynamics(
        run=run.name,
        method=run.method,
        n_steps=len(series),
        series=series,
        fits=pd.DataFrame(fits),
        cumulative=pd.DataFrame(cumulative),
        level=level,
        warnings=_warnings(run, series),
    )


def sign_text(row: Any) -> str:
    """What the interval of a slope says of the theory, by which it is positive (a row of `Dynamics.fits`)."""
    if row["low"] > 0:
        return "positive, as the theory has it"
    return "negative, against the theory" if row["high"] < 0 else "not shown to differ from 0"


def _of_sums(row: Any) -> str:
    automatic = row.shuffled_r > _AUTOMATIC
    told = "agreement of sums is nearly automatic" if automatic else "only what exceeds the latter counts"
    return f"r = {row.r:.2f}, and {row.shuffled_r:.2f} with the predictions in random order: {told}"


def _fit(series: pd.DataFrame, observed: str, predictor: str, window: int, level: float) -> dict[str, Any]:
    drop, covariance = window_sums(series, observed, predictor, window)
    line = robust_line(covariance, drop, level)
    return {"observed": observed, "predictor": predictor, "window": window, **vars(line)}


def window_sums(series: pd.DataFrame, observed: str, predictor: str, window: int) -> tuple[Floats, Floats]:
    """Sums over whole windows of neighbouring steps in which every step has both."""
    both = series[["step", observed, predictor]].dropna()
    if window == 1:
        return both[observed].to_numpy(np.float64), both[predictor].to_numpy(np.float64, copy=True)
    number = (both["step"] - series["step"].iloc[0]) // window
    groups = both.groupby(number)
    sums = groups[[observed, predictor]].sum()[groups.size() == window]
    return sums[observed].to_numpy(np.float64), sums[predictor].to_numpy(np.float64)


def cumulated(series: pd.DataFrame, observed: str, predictor: str, *, seed: int = 0) -> pd.DataFrame:
    """Both summed from the start: frame of step, observed, predicted, shuffled, scaled to the same end.

    ``shuffled``: the predictions in random order. That it agrees too says that the agreement is no evidence.
    """
    both = series[["step", observed, predictor]].dropna()
    drop, covariance = both[observed].to_numpy(np.float64), both[predictor].to_numpy(np.float64, copy=True)
    total = covariance.sum()
    scale = drop.sum() / total if total else 1.0
    shuffled = np.random.default_rng(seed).permutation(covariance)
    sums = {"predicted": scale * np.cumsum(covariance), "shuffled": scale * np.cumsum(shuffled)}
    return pd.DataFrame({"step": both["step"].to_numpy(), "observed": np.cumsum(drop)} | sums)


def _cumulative(series: pd.DataFrame, observed: str, predictor: str, seed: int) -> dict[str, Any]:
    drop, covariance = window_sums(series, observed, predictor, 1)
    row = {"observed": observed, "predictor": predictor, "n": len(drop), "r": np.nan, "shuffled_r": np.nan}
    if len(drop) < MIN_BLOCKS:
        return row
    rng, total = np.random.default_rng(seed), np.cumsum(drop)
    shuffled = [_correlation(total, np.cumsum(rng.permutation(covariance))) for _ in range(_SHUFFLES)]
    return row | {"r": _correlation(total, np.cumsum(covariance)), "shuffled_r": float(np.median(shuffled))}


def _correlation(x: Floats, y: Floats) -> float:
    if not (np.ptp(x) > 0 and np.ptp(y) > 0):
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _warnings(run: Run, series: pd.DataFrame) -> tuple[str, ...]:
    notes = []
    told = interventions(run.method, run.config)
    if told:
        notes.append(
            f"the run used {', '.join(told)}: the covariance is that of all tokens, the update was not"
        )
    if not np.isfinite(series["same_states"]).any():
        notes.append(
            "the change on the same states is unknown: from a loop of one's own, record(entropy_after=...) "
            "takes the entropy of the same tokens after the step's updates"
        )
    held = int(np.isfinite(series["token_pg"]).sum())
    if held < len(series):
        notes.append(f"{held} of {len(series)} steps have token rows: the forms that need them use those")
    if held and not np.isfinite(series["response_npg"]).any():
        notes.append(
            "the forms over the responses of a prompt are unknown: they need prompt_ids, and prompts with "
            "two responses or more"
        )
    sampled = int(series["estimated"].sum())
    if sampled:
        notes.append(
            f"{sampled} steps hold a sample of their tokens: there those forms are weighted estimates"
        )
    return tuple(notes)
