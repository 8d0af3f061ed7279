"""The methods beside the baseline: differences of the end values as dots with intervals, a panel a metric."""

from __future__ import annotations

import chart_look as look
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from entropylab.analysis.comparison import Comparison
from entropylab.plots.style import method_label, method_style

SHOWN = {
    "entropy_end": "Entropy H, nats",
    "accuracy_end": "Accuracy (T=1)",
    "accuracy_greedy_end": "Accuracy (greedy)",
    "pass@8_end": "Pass@8",
}
ROW, FRAME = 34, 92


def differences_figure(comparison: Comparison, metric: str) -> go.Figure:
    """Method less baseline at the end of training, a row a method; without an interval where one run is all."""
    rows = comparison.differences[comparison.differences["metric"] == metric].iloc[::-1]
    figure = look.title(look.empty_figure(FRAME + ROW * len(rows)), SHOWN[metric])
    figure.update_layout(hovermode="closest")
    for row in rows.itertuples():
        style, label = method_style(row.method), method_label(row.method)
        known = np.isfinite(row.low)
        span = f"{row.low:+.3f} to {row.high:+.3f}, {row.pairs} pairs" if known else "no interval"
        figure.add_trace(
            go.Scatter(
                x=[row.difference],
                y=[label],
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
    figure.add_vline(x=0, line={"color": look.AXIS, "width": 1, "dash": "dot"}, layer="below")
    figure.update_xaxes(nticks=5)
    figure.update_yaxes(type="category", showgrid=False)
    return figure


def end_table(comparison: Comparison) -> pd.DataFrame:
    """End values, a row a method: the mean over its runs, with its interval where there are several."""
    by_method = comparison.methods.set_index(["method", "metric"])
    rows = []
    for method in dict.fromkeys(comparison.methods["method"]):
        row = {"method": method_label(method), "runs": int(by_method.loc[method]["n_runs"].max())}
        rows.append(row | {title: _cell(by_method.loc[(method, metric)]) for metric, title in SHOWN.items()})
    return pd.DataFrame(rows)


def _cell(row: pd.Series) -> str:
    if not np.isfinite(row["mean"]):
        return "–"
    interval = f" ({row['low']:.3f} to {row['high']:.3f})" if np.isfinite(row["low"]) else ""
    return f"{row['mean']:.3f}{interval}"
