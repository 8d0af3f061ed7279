"""The law R = -a exp(H) + b: points, line, conditional interval, form band and the ceiling at H = 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .backend import LinearSegmentedColormap, to_rgb
from .figure import INK, MUTED, band, look, new_figure
from .style import GHOST, LINE_WIDTH, NEUTRAL, SKY, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from entropylab.analysis.curve import CurveFit

GRID_POINTS = 120
HEADROOM = 0.16
"""Share of the height added above the highest point, for the ceiling's label."""


def draw_curve(
    fit: CurveFit,
    ax: Axes | None = None,
    *,
    style: Style | None = None,
    performance: str = "accuracy R",
    entropy_axis: bool = True,
) -> Axes:
    """R against exp(H), points from pale (first step) to full colour, with the line continued to H = 0.

    Two bands where the fit has them: the interval conditional on the law (inner) and over five curve shapes
    (outer, dotted edges). ``entropy_axis`` adds a second axis on top with H in nats.
    """
    with look():
        if ax is None:
            _, ax = new_figure()
        color = (style or Style(NEUTRAL)).color
        _draw_bands(fit, ax, color)
        _draw_points(fit, ax, color)
        _draw_ceiling(fit, ax, color)
        bottom, top = ax.get_ylim()
        ax.set_ylim(bottom, top + HEADROOM * (top - bottom))
        ax.set_xlabel("exp(H), H in nats")
        ax.set_ylabel(performance)
        if entropy_axis:
            add_entropy_axis(ax)
    return ax


def _draw_bands(fit: CurveFit, ax: Axes, color: str) -> None:
    h = np.log(np.linspace(1.0, np.exp(fit.entropy).max(), GRID_POINTS))
    frame, x = fit.band(h), np.exp(h)
    if np.isfinite(frame["form_low"]).all():
        ax.fill_between(x, frame["form_low"], frame["form_high"], color=SKY, alpha=GHOST / 2, linewidth=0)
        for name in ("form_low", "form_high"):
            label = "any of 5 shapes" if name == "form_low" else None
            ax.plot(x, frame[name], color=MUTED, linewidth=0.7, linestyle=":", label=label)
    if np.isfinite(frame["low"]).all():
        band(ax, x, frame["low"], frame["high"], color, label=f"{fit.level:.0%} interval, if the law holds")
    seen = x >= np.exp(fit.entropy).min()
    ax.plot(x[seen], frame["mean"][seen], color=INK, linewidth=LINE_WIDTH, label="R = -a exp(H) + b")
    ax.plot(x[~seen], frame["mean"][~seen], color=INK, linewidth=1, linestyle=(0, (4, 2)))


def _draw_points(fit: CurveFit, ax: Axes, color: str) -> None:
    shades = LinearSegmentedColormap.from_list("steps", [_tint(color, 0.35), _tint(color, 1.0)])
    ax.scatter(np.exp(fit.entropy), fit.performance, c=fit.steps, cmap=shades, s=9, linewidths=0, zorder=3)


def _draw_ceiling(fit: CurveFit, ax: Axes, color: str) -> None:
    ax.plot([1.0], [fit.ceiling], marker="D", markersize=4, color=INK, zorder=4, clip_on=False)
    bounds = fit.intervals.get("ceiling")
    if bounds is not None:
        ax.plot([1.0, 1.0], bounds, color=INK, linewidth=1, zorder=4, clip_on=False)
    spread = "\ninterval withheld" if bounds is None else f" ({bounds[0]:.2f}-{bounds[1]:.2f})"
    text = f"ceiling {fit.ceiling:.2f}{spread}"
    place: dict[str, Any] = {"xytext": (8, 3), "textcoords": "offset points", "va": "bottom"}
    ax.annotate(text, (1.0, fit.ceiling), fontsize=6.5, **place)


def _tint(color: str, share: float) -> Any:
    """``share`` of the colour, the rest white."""
    return tuple(share * channel + 1 - share for channel in to_rgb(color))


def add_entropy_axis(ax: Axes) -> None:
    """A second x axis on top with H in nats, at round values from 0."""
    functions: Any = (_to_entropy, np.exp)
    top = ax.secondary_xaxis("top", functions=functions)
    top.set_xlabel("H (nats)")
    low, high = (float(_to_entropy(np.array(x))) for x in ax.get_xlim())
    step = next((s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if (high - low) / s <= 6), 2.0)
    top.set_xticks(np.arange(max(np.ceil(low / step), 0.0) * step, high, step))
    top.spines["top"].set_visible(True)


def _to_entropy(x: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(x, 1e-6))
