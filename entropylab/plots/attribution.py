"""Which tokens make the tail and which a control selected: quadrants, positions, token strings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .backend import FuncFormatter, MaxNLocator
from .figure import MUTED, WIDE, look, new_figure, placeholder
from .style import BLUE, LIGHT, VERMILLION
from .text import shorten

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from entropylab.analysis.attribution import Attribution

SETS = {
    "all": ("all tokens", LIGHT),
    "top 2 %": ("top 2 %, by covariance", VERMILLION),
    "selected": ("selected", BLUE),
}
"""Set of tokens -> its name in a legend and its colour."""
QUADRANT_NAMES = {
    "high_above": "likely token,\nadvantage above",
    "high_below": "likely token,\nadvantage below",
    "low_above": "rare token,\nadvantage above",
    "low_below": "rare token,\nadvantage below",
}
LISTED = 8
"""Token strings in the list of the enriched ones."""
TOKEN_LENGTH = 24
"""Characters of a token string that is shown in full."""


def draw_attribution(result: Attribution, ax: Axes | None = None) -> Axes:
    """Share of each set of tokens in the four quadrants, with intervals."""
    with look():
        if ax is None:
            _, ax = new_figure()
        shown = [name for name in SETS if (result.quadrants["set"] == name).any() and _size(result, name)]
        for place, name in enumerate(shown):
            rows = (
                result.quadrants[result.quadrants["set"] == name]
                .set_index("quadrant")
                .loc[list(QUADRANT_NAMES)]
            )
            _draw_bars(rows, name, (place - (len(shown) - 1) / 2) * 0.8 / len(shown), 0.8 / len(shown), ax)
        ax.set_yticks(range(len(QUADRANT_NAMES)), QUADRANT_NAMES.values())
        ax.invert_yaxis()
        ax.set(xlim=(0, 1.02), xlabel="share of the set")
        ax.legend(loc="lower center", bbox_to_anchor=(0.4, 0.98), ncols=len(shown), columnspacing=0.8)
    return ax


def _size(result: Attribution, name: str) -> int:
    return {"all": result.n, "selected": result.n_selected, "top 2 %": result.n_tail}[name]


def _draw_bars(rows: pd.DataFrame, name: str, shift: float, height: float, ax: Axes) -> None:
    label, color = SETS[name]
    y = np.arange(len(rows)) + shift
    errors = np.vstack([rows["share"] - rows["share_low"], rows["share_high"] - rows["share"]])
    ax.barh(y, rows["share"], height=0.9 * height, color=color, label=label)
    ax.errorbar(
        rows["share"], y, xerr=np.nan_to_num(np.maximum(errors, 0)), fmt="none", ecolor=MUTED, elinewidth=0.8
    )


def draw_positions(result: Attribution, ax: Axes) -> Axes:
    """Share of each set over the position in the response."""
    table = result.positions
    middle = (table["first"] + table["last"]) / 2
    for name, (label, color) in SETS.items():
        if f"{name} share" in table and _size(result, name):
            ax.plot(middle, table[f"{name} share"], color=color, label=label, marker="o", markersize=2.5)
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="position in the response", ylabel="share of the set")
    return ax


def draw_enrichment(result: Attribution, ax: Axes, *, name: str = "top 2 %") -> Axes:
    """The most enriched token strings of a set, share in the set over share in all, with intervals."""
    rows = result.tokens[(result.tokens["set"] == name) & result.tokens["low"].notna()]
    if rows.empty:
        placeholder(ax, "No token ids recorded, or too few of any kind.")
        return ax
    rows = rows.nlargest(LISTED, "enrichment").iloc[::-1]
    errors = np.vstack([rows["enrichment"] - rows["low"], rows["high"] - rows["enrichment"]])
    ax.errorbar(
        rows["enrichment"], range(len(rows)), xerr=errors, fmt="o", color=SETS[name][1], elinewidth=0.8
    )
    labels = [
        f"id {i}" if t is None else repr(shorten(t, TOKEN_LENGTH))
        for t, i in zip(rows["token"], rows["token_id"], strict=True)
    ]
    ax.set_yticks(range(len(rows)), [label.replace("$", r"\$") for label in labels])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.axvline(1, color=MUTED, linewidth=0.6)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("times as frequent\nas in all tokens")
    return ax


def attribution_figure(result: Attribution) -> Figure:
    """Three panels: quadrants, positions, enriched tokens of the tail."""
    figure, axes = new_figure(WIDE, 2.6, ncols=3, width_ratios=(1.15, 1, 1))
    with look():
        draw_attribution(result, axes[0])
        draw_positions(result, axes[1])
        draw_enrichment(result, axes[2])
    return figure
