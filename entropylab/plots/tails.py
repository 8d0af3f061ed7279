"""The tail of the token covariance: survival, tail index over thresholds, concentration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .figure import MUTED, WIDE, look, new_figure, placeholder
from .style import BLUE, GREEN, NEUTRAL, ORANGE, PURPLE, Style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from entropylab.analysis.tails import TailReport

SIDES = {"right": ("covariance > 0", ORANGE), "left": ("covariance < 0", BLUE)}
ESTIMATORS = {"gpd": ("GPD", "o", NEUTRAL), "moment": ("moment", "s", GREEN), "hill": ("Hill", "^", PURPLE)}
MARKED = 0.02
"""The top fraction whose share of the positive mass is written into the concentration chart."""


def draw_tails(report: TailReport, ax: Axes | None = None) -> Axes:
    """Share of tokens beyond |covariance| on log axes, both sides; dashed: the same if logprob and advantage
    were independent.
    """
    with look():
        if ax is None:
            _, ax = new_figure()
        if report.survival.empty:
            placeholder(ax, "Too few distinct covariances for a survival curve.")
            return ax
        for side, (label, color) in SIDES.items():
            _draw_side(report, side, label, color, ax)
        ax.plot([], [], color=MUTED, linestyle=(0, (3, 2)), linewidth=1, label="if independent")
        ax.set(xscale="log", yscale="log")
        ax.set_xlabel("|covariance| (nats × advantage)")
        ax.set_ylabel("share of tokens beyond")
        ax.legend(loc="lower left")
    return ax


def _draw_side(report: TailReport, side: str, label: str, color: str, ax: Axes) -> None:
    rows = report.survival[report.survival["tail"] == side]
    shown = rows[rows["observed"] > 0]
    ax.plot(shown["x"], shown["observed"], color=color, label=label)
    null = rows[rows["independent"] >= 0.5 / report.n]
    ax.plot(null["x"], null["independent"], color=color, linestyle=(0, (3, 2)), linewidth=1)


def draw_tail_index(report: TailReport, ax: Axes, *, side: str = "right") -> Axes:
    """Tail index ξ by three estimators over the share of tokens in the tail; 0: an exponential decay."""
    rows = report.estimates[report.estimates["tail"] == side]
    if rows.empty:
        placeholder(ax, "Too few tokens above any threshold for a tail index.")
        return ax
    for shift, (name, (label, marker, color)) in zip((0.94, 1.0, 1.06), ESTIMATORS.items(), strict=True):
        x, y = rows["fraction"] * shift, rows[name]
        below, above = (np.maximum(0, gap) for gap in (y - rows[f"{name}_low"], rows[f"{name}_high"] - y))
        errors = np.nan_to_num(np.vstack([below, above]))
        ax.errorbar(x, y, errors, fmt=marker, color=color, markersize=3, elinewidth=0.8, label=label)
    ax.axhline(0, color=MUTED, linewidth=0.6)
    ax.set_xscale("log")
    ax.invert_xaxis()
    ax.set_xticks(rows["fraction"], [f"{100 * f:g}" for f in rows["fraction"]])
    if len(rows) == 1:
        ax.set_xlim(2 * rows["fraction"].iloc[0], rows["fraction"].iloc[0] / 2)
    ax.minorticks_off()
    ax.set_xlabel("share of tokens in the tail (%)")
    ax.set_ylabel("tail index ξ")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=3, columnspacing=0.8, handletextpad=0.2)
    return ax


def draw_concentration(report: TailReport, ax: Axes, *, style: Style | None = None, label: str = "") -> Axes:
    """Share of the positive covariance mass that the top share of the tokens holds."""
    color = (style or Style(ORANGE)).color
    share, mass = report.lorenz["token_share"], report.lorenz["mass_share"]
    ax.plot(share, mass, color=color, label=label or None)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.6, linestyle=":")
    held = report.top_share_positive.get(MARKED)
    if held is not None and np.isfinite(held):
        ax.plot([MARKED], [held], marker="o", color=color)
        text = f"the top {100 * MARKED:g} % hold {100 * held:.0f} %"
        line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.5}
        ax.annotate(text, (MARKED, held), xytext=(0.3, 0.1), fontsize=7, va="center", arrowprops=line)
    ax.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="share of tokens, highest first")
    ax.set_ylabel("share of positive covariance")
    return ax


def tails_figure(report: TailReport) -> Figure:
    """Three panels: survival, tail index over thresholds, concentration."""
    figure, axes = new_figure(WIDE, 2.4, ncols=3)
    with look():
        draw_tails(report, axes[0])
        draw_tail_index(report, axes[1])
        draw_concentration(report, axes[2])
    return figure
