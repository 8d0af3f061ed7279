"""Several runs of one setting on one noise law: what one run cannot tell of its noise, the others do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InsufficientDataError, InvalidInputError
from .curve import CurveFit, complete_fit
from .curve_checks import CURVED, MAX_EXTRAPOLATION
from .curve_entropy import entropy_trend
from .curve_grid import RATES, GridFit, Posterior, fit_grid, normalised
from .curve_noise import grid_cells
from .curve_points import Points
from .smoothing import Smoothing, usual_gap


def share_noise(fits: Sequence[CurveFit]) -> tuple[CurveFit, ...]:
    """The fits again, with one law of the noise (correlation time, share of AR(1)) for all runs.

    Each run keeps its own line and its own noise level; the weight of a noise cell is its prior times the
    likelihoods of all runs, under each curve shape. Only method "grid"; a run whose own points refuse an
    interval, or that is curved in exp(H), is left as it is. docs/certification.md: up to a noise
    correlation of .8 the intervals of five runs hold their level and are mostly narrower; above, drift is
    found out, and the interval withheld, more often.
    Raises InsufficientDataError where fewer than two runs can share, InvalidInputError where the runs are
    evaluated at different spacings.
    """
    sharing = [i for i, fit in enumerate(fits) if _can_share(fit)]
    if len(sharing) < 2:
        raise InsufficientDataError(
            f"{len(sharing)} of {len(fits)} fits can share their noise, 2 are needed: of method 'grid', "
            "not curved in exp(H), with enough points"
        )
    gaps = {usual_gap(fits[i].steps) for i in sharing}
    if len(gaps) > 1:
        raise InvalidInputError(
            f"the runs are evaluated every {', '.join(f'{g:g}' for g in sorted(gaps))} steps: noise can be "
            "shared by runs of one spacing"
        )
    cells = grid_cells(max(fits[i].n_points for i in sharing))
    points = [_points(fits[i]) for i in sharing]
    trends = [entropy_trend(p) for p in points]
    grids = _together(
        [
            fit_grid(p.steps, p.entropy if t is None else t.values, p.performance, cells)
            for p, t in zip(points, trends, strict=True)
        ]
    )
    made = list(fits)
    for i, own, trend, grid in zip(sharing, points, trends, grids, strict=True):
        made[i] = _under(fits[i], own, trend, grid)
    return tuple(made)


def _under(fit: CurveFit, points: Points, trend: Smoothing | None, grid: GridFit) -> CurveFit:
    """A fit under another grid, with what was warned of besides the fit itself."""
    own = complete_fit(fit.method, fit.level, points, trend, fit.grid).warnings
    again = complete_fit(fit.method, fit.level, points, trend, grid)
    besides = [warning for warning in fit.warnings if warning not in own]
    return replace(again, binomial_sd=fit.binomial_sd, warnings=(*again.warnings, *besides))


def _can_share(fit: CurveFit) -> bool:
    curved = fit.curvature_p is not None and fit.curvature_p < CURVED
    return (
        fit.method == "grid"
        and fit.grid is not None
        and not curved
        and fit.extrapolation <= MAX_EXTRAPOLATION
    )


def _points(fit: CurveFit) -> Points:
    return Points(fit.entropy, fit.performance, fit.steps, None)


def _together(grids: Sequence[GridFit]) -> list[GridFit]:
    """Each grid under the weights of all, shape by shape."""
    joint = [_joint([grid.forms[j] for grid in grids]) for j in range(len(RATES))]
    weights, evidence = zip(*joint, strict=True)
    return [grid.under(weights, evidence) for grid in grids]


def _joint(runs: Sequence[Posterior]) -> tuple[np.ndarray, float]:
    """Weights of the cells given all runs, and the log evidence; the prior counts once."""
    prior = runs[0].cells.log_prior
    with np.errstate(divide="ignore"):
        each = [np.log(run.weights) + run.log_evidence for run in runs]
    log_w = np.sum(each, axis=0) - (len(runs) - 1) * prior
    return normalised(log_w)
