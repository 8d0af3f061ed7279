"""The tables of the law R = -a exp(H) + b over model sizes, with forecasts in both directions.

python docs/study/law.py             # from results/, seconds
python docs/study/law.py --train 2   # train what is missing first, two runs at a time (hours)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from arms import LAW_REGIMES, Regime
from markdown_tables import collect_as_asked, markdown, write_tables
from numpy.typing import NDArray
from stored import CURVES

from entropylab.analysis.curve import CurveFit, fit_curve
from entropylab.analysis.curve_runs import size_trend
from entropylab.lab.countdown import problem_ids
from entropylab.lab.model import build_model, parameter_count

SHARES = (0.15, 0.25, 0.5)
"""Shares of the evaluations, from the first on, that a forecast is made from."""


@dataclass(frozen=True)
class SizedRun:
    """One run: size in parameters, entropy and accuracy at its evaluations, and the fit on all of them."""

    size: int
    warm_up: int
    entropy: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    steps: NDArray[np.float64]
    fit: CurveFit


def sized_runs() -> list[SizedRun]:
    """The finished runs, the smallest models first."""
    curves = pd.read_parquet(CURVES)
    return [
        run
        for regime in LAW_REGIMES
        for warm_up, rows in curves[curves["regime"] == regime.name].groupby("warm_up")
        for run in [_run(regime, int(warm_up), rows.sort_values("step"))]
    ]


def _run(regime: Regime, warm_up: int, rows: pd.DataFrame) -> SizedRun:
    h, r, t = (rows[name].to_numpy(np.float64) for name in ("entropy", "accuracy", "step"))
    fit = fit_curve(h, r, steps=t, n_problems=len(problem_ids("validation")))
    return SizedRun(parameter_count(build_model(0, regime.start.model)), warm_up, h, r, t, fit)


def forecasts(run: SizedRun) -> Iterator[tuple[str, dict[str, float]]]:
    """By direction: the RMSE on the points left out, of the law, a line in H, and the last value held."""
    for share in SHARES:
        first = max(3, round(share * len(run.steps)))
        yield f"first {share:.0%}", _errors(run, slice(0, first), slice(first, None), first - 1)
    half = len(run.steps) // 2
    yield "last half, backwards", _errors(run, slice(half, None), slice(0, half), half)


def _errors(run: SizedRun, known: slice, rest: slice, nearest: int) -> dict[str, float]:
    found = {"last value": np.full_like(run.accuracy[rest], run.accuracy[nearest])}
    for name, x in (("law", np.exp(run.entropy)), ("line in H", run.entropy)):
        slope, intercept = np.polyfit(x[known], run.accuracy[known], 1)
        found[name] = intercept + slope * x[rest]
    return {name: float(np.sqrt(np.mean((run.accuracy[rest] - y) ** 2))) for name, y in found.items()}


def fits_table(runs: list[SizedRun]) -> str:
    """a, b and the ceiling of each run."""
    rows = []
    for run in runs:
        bounds = run.fit.intervals["ceiling"]
        interval = f"[{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else f"withheld: {run.fit.withheld}"
        numbers = [f"{getattr(run.fit, name):.3f}" for name in ("a", "b", "ceiling")]
        ends = f"{run.entropy[0]:.2f} to {run.entropy[-1]:.2f}"
        rows.append([f"{run.size:,}", str(run.warm_up), ends, *numbers, interval, f"{run.fit.rmse:.3f}"])
    return markdown(["parameters", "warm-up", "H", "a", "b", "ceiling", "95 %", "RMSE"], rows)


def trend_table(runs: list[SizedRun]) -> str:
    """a, b and the ceiling against the logarithm of the size."""
    trend = size_trend([run.fit for run in runs], [run.size for run in runs])
    rows = [
        [
            row.term,
            f"{row.slope:+.4f} [{row.low:.4f}, {row.high:.4f}]",
            f"{row.p:.2g}",
            f"{row.residual_sd:.3f}",
        ]
        for row in trend.itertuples()
    ]
    return markdown(["term", "change per unit of ln size, 95 %", "p", "residual sd"], rows)


def forecast_table(runs: list[SizedRun]) -> str:
    """Mean RMSE over the runs by direction, and how often the law was best."""
    found = [{"way": way, **errors} for run in runs for way, errors in forecasts(run)]
    frame = pd.DataFrame(found)
    rows = []
    for way, own in frame.groupby("way", sort=False):
        numbers = own.drop(columns="way")
        best = int((numbers.idxmin(axis=1) == "law").sum())
        means = [f"{numbers[name].mean():.3f}" for name in ("law", "line in H", "last value")]
        rows.append([str(way), *means, f"{best} of {len(own)}"])
    return markdown(["known", "law", "line in H", "last value", "law best"], rows)


def main() -> None:
    """The command line."""
    collect_as_asked(__doc__ or "", "law")
    runs = sized_runs()
    parts = ["## The law over sizes", fits_table(runs), trend_table(runs), forecast_table(runs)]
    print(write_tables("law", parts))


if __name__ == "__main__":
    main()
