"""A fitted power law over the survival function of its data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figure import look, new_figure, note
from .style import NEUTRAL, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from entropylab.analysis.power_law import PowerLawFit

SHOWN = 2000
"""Most points drawn of the survival function."""


def draw_power_law(fit: PowerLawFit, ax: Axes | None = None) -> Axes:
    """Share of values at or beyond x on log axes, and the fitted line above xmin."""
    with look():
        if ax is None:
            _, ax = new_figure()
        ordered = np.sort(fit.values)
        n = len(ordered)
        places = np.unique(np.r_[0, n - np.geomspace(1, n, min(n, SHOWN)).astype(int)])
        ax.plot(ordered[places], 1.0 - places / n, ".", color=NEUTRAL, markersize=2.5)
        x = np.geomspace(fit.xmin, ordered[-1], 50)
        line = fit.n_tail / n * (x / fit.xmin) ** (1.0 - fit.alpha)
        ax.plot(x, line, color=ORANGE, label=f"exponent {fit.alpha:.2f} above {fit.xmin:.3g}")
        ax.set(xscale="log", yscale="log", xlabel="x", ylabel="share of values ≥ x")
        ax.legend(loc="lower left")
        note(ax, f"{fit.n_tail:,} of {n:,} values")
    return ax
