"""Methods against the baseline: differences with intervals, seeds as light dots behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..analysis.comparison_figures import label_of
from .figure import MUTED, look, marker_of, new_figure
from .style import method_label, run_style
from .text import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from entropylab.analysis.comparison import Comparison

BASELINE = "baseline"
HEIGHT = 0.7
"""Share of a row that its methods spread over."""


def draw_comparison(comparison: Comparison, ax: Axes | None = None) -> Axes:
    """One row a metric, one dot a method: the difference from the baseline at the end with its interval.

    Light dots are single pairs of seeds. Without a baseline the end values themselves are drawn.
    """
    with look():
        if ax is None:
            _, ax = new_figure(height=2.6)
        against = not comparison.differences.empty
        table = comparison.differences if against else comparison.methods
        methods = list(dict.fromkeys(table["method"]))
        for place, method in enumerate(methods):
            shift = (place - (len(methods) - 1) / 2) * HEIGHT / len(methods)
            _draw_method(comparison, table[table["method"] == method], method, shift, ax)
        if against:
            ax.axvline(0, color=MUTED, linewidth=0.6)
        shown = [label_of(name) for name in comparison.shown]
        ax.set_yticks(range(len(shown)), [drawn(name) for name in shown])
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.set_xlabel("difference from the baseline at the end" if against else "value at the end")
        ax.legend(loc="lower left", bbox_to_anchor=(-0.35, 0.99), ncols=min(4, len(methods)), columnspacing=1)
    return ax


def _draw_method(comparison: Comparison, rows: pd.DataFrame, method: str, shift: float, ax: Axes) -> None:
    style = run_style(method, method)
    value = "difference" if "difference" in rows else "mean"
    ends = [f"{name}_end" for name in comparison.shown]
    rows = rows.set_index("metric").loc[ends]
    y = np.arange(len(ends)) + shift
    for level, metric in zip(y, ends, strict=True):
        seeds = seed_values(comparison, method, metric)
        ax.plot(seeds, np.full(len(seeds), level), "o", color=style.color, alpha=0.3, markersize=2.5)
    errors = np.vstack([rows[value] - rows["low"], rows["high"] - rows[value]])
    settings: dict[str, Any] = {"color": style.color, "markersize": 4, "elinewidth": 1}
    ax.errorbar(
        rows[value], y, xerr=errors, fmt=marker_of(style), label=drawn(method_label(method)), **settings
    )


def seed_values(comparison: Comparison, method: str, metric: str) -> np.ndarray:
    """Single differences of runs that share seed and start with one baseline run; else the runs' values."""
    runs = comparison.runs
    ours = runs[runs["method"] == method]
    if comparison.differences.empty:
        return ours[metric].dropna().to_numpy()
    pairs = ours.merge(runs[runs["method"] == BASELINE], on=["seed", "start"], suffixes=("", "_baseline"))
    return (pairs[metric] - pairs[f"{metric}_baseline"]).dropna().to_numpy()
