"""The methods beside the baseline: differences of the end values as dots with intervals, a panel a metric."""

from __future__ import annotations

from collections.abc import Sequence

import chart_look as look
import metric_names
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from entropylab.analysis.comparison import BASELINE, Comparison, paired_gaps
from entropylab.plots.style import method_label, method_style

ROW, FRAME = 34, 92
BELOW = 0.22
"""How far the single pairs stand below their row."""


def differences_figure(comparison: Comparison, metric: str) -> go.Figure:
    """Method less baseline at the end of training, a row a method; without an interval where one run is all."""
    rows = comparison.differences[comparison.differences["metric"] == metric].iloc[::-1]
    figure = look.empty_figure(FRAME + ROW * len(rows), title(metric.removesuffix("_end")))
    figure.update_layout(hovermode="closest")
    runs = comparison.runs
    for y, row in enumerate(rows.itertuples()):
        style, label = method_style(row.method), method_label(row.method)
        pairs = paired_gaps(runs[runs["method"] == row.method], runs[runs["method"] == BASELINE], metric)
        figure.add_trace(
            go.Scatter(
                x=pairs,
                y=[y - BELOW] * len(pairs),
                mode="markers",
                marker={"color": look.rgba(style.color, 0.5), "symbol": "line-ns-open", "size": 7},
                hovertemplate=f"{label}, one pair: %{{x:+.3f}}<extra></extra>",
                name=f"{label}, pairs",
            )
        )
        known = np.isfinite(row.low)
        span = f"{row.low:+.3f} to {row.high:+.3f}, {row.pairs} pairs" if known else "no interval"
        figure.add_trace(
            go.Scatter(
                x=[row.difference],
                y=[y],
                mode="markers",
                marker={"color": style.color, "symbol": style.marker, "size": 9},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [row.high - row.difference if known else 0],
                    "arrayminus": [row.difference - row.low if known else 0],
                    "color": style.color,
                    "thickness": 1.5,
                    "width": 0,
                },
                hovertemplate=f"{label}: %{{x:+.3f}} ({span})<extra></extra>",
            )
        )
    labels = [method_label(method) for method in rows["method"]]
    return _on_rows(figure, labels, rows[["difference", "low", "high"]].to_numpy())


def matched_figure(comparison: Comparison, metric: str) -> go.Figure:
    """Method less baseline at equal steps, tokens and entropy, a row each; thin bars also count the problems."""
    rows = comparison.matched[comparison.matched["metric"] == metric].dropna(subset=["difference"]).iloc[::-1]
    figure = look.empty_figure(FRAME + ROW * max(len(rows), 1), title(metric))
    figure.update_layout(hovermode="closest")
    labels = [f"{method_label(row.method)}, equal {row.at}" for row in rows.itertuples()]
    for y, (row, label) in enumerate(zip(rows.itertuples(), labels, strict=True)):
        style = method_style(row.method)
        for low, high, width in ((row.wide_low, row.wide_high, 1), (row.low, row.high, 3)):
            if np.isfinite(low):
                line = {"color": style.color, "width": width}
                figure.add_trace(go.Scatter(x=[low, high], y=[y, y], mode="lines", line=line, name=label))
        figure.add_trace(
            go.Scatter(
                x=[row.difference],
                y=[y],
                mode="markers",
                marker={"color": style.color, "symbol": style.marker, "size": 9},
                name=label,
                hovertemplate=f"{label} ({row.x:.4g}), {row.pairs} pairs: %{{x:+.3f}}<extra></extra>",
            )
        )
    return _on_rows(figure, labels, rows[["difference", "low", "high", "wide_low", "wide_high"]].to_numpy())


def _on_rows(figure: go.Figure, labels: Sequence[str], values: NDArray) -> go.Figure:
    """A row a label about a line at no difference, with room beside the widest bar."""
    look.upright_zero_line(figure)
    known = np.append(values[np.isfinite(values)], 0.0)
    look.share_x([figure], known.min(), known.max())
    rows = {
        "tickvals": list(range(len(labels))),
        "ticktext": list(labels),
        "range": [-0.6, len(labels) - 0.4],
    }
    figure.update_layout(
        xaxis={"nticks": 5, "zeroline": False}, yaxis={"showgrid": False, "ticks": "", **rows}
    )
    return figure


def title(metric: str) -> str:
    """A compared metric above its panel or column."""
    if metric == "entropy":
        return "Entropy H, nats"
    return metric_names.metric_title(metric)


def end_table(comparison: Comparison) -> pd.DataFrame:
    """End values, a row a method: the mean over its runs, with its interval where there are several."""
    by_method = comparison.methods.set_index(["method", "metric"])
    rows = []
    for method in dict.fromkeys(comparison.methods["method"]):
        row = {"method": method_label(method), "runs": int(by_method.loc[method]["n_runs"].max())}
        ends = {title(name): _cell(by_method.loc[(method, f"{name}_end")]) for name in comparison.shown}
        rows.append(row | ends)
    return pd.DataFrame(rows)


def _cell(row: pd.Series) -> str:
    if not np.isfinite(row["mean"]):
        return "–"
    interval = f" ({row['low']:.3f} to {row['high']:.3f})" if np.isfinite(row["low"]) else ""
    return f"{row['mean']:.3f}{interval}"
