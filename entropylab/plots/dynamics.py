"""The drop of the entropy over what the covariance predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figure import MUTED, look, new_figure, note, placeholder
from .style import NEUTRAL, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from entropylab.analysis.dynamics import Dynamics


def draw_dynamics(result: Dynamics, ax: Axes | None = None) -> Axes:
    """One point a step, on the same states where those were recorded, with the fitted line."""
    with look():
        if ax is None:
            _, ax = new_figure()
        known = np.isfinite(result.series["same_states"]).any()
        observed = "same_states" if known else "between"
        points = result.series[["token_npg", observed]].dropna()
        if points.empty:
            placeholder(ax, "No step with both a covariance and a change of the entropy.")
            return ax
        x, y = points["token_npg"].to_numpy(), points[observed].to_numpy()
        ax.plot(x, y, ".", color=NEUTRAL, markersize=3, alpha=0.6)
        ax.axhline(0, color=MUTED, linewidth=0.6)
        fit = result.fit(observed)
        if np.isfinite(fit["slope"]):
            ends = np.array([x.min(), x.max()])
            ax.plot(ends, fit["intercept"] + fit["slope"] * ends, color=ORANGE)
            ax.margins(y=0.15)
            note(ax, f"{fit['slope']:.2g} nats a unit, r = {fit['r']:.2f}")
        where = "same states" if known else "between rollouts"
        ax.set(xlabel="mean covariance of the step", ylabel=f"drop of H, {where} (nats)")
    return ax
