"""Predicted against observed change of the entropy: windows as dots, slopes over windows, cumulated curves."""

from __future__ import annotations

import chart_look as look
import numpy as np
import plotly.graph_objects as go

from entropylab.analysis.dynamics import Dynamics, cumulated, window_sums
from entropylab.analysis.dynamics_series import OBSERVED, PREDICTORS
from entropylab.plots.style import Style

PREDICTED = Style("#808080", "dash", "square")
SHUFFLED = Style("#808080", "dot", "x")
MAX_DOTS = 600
"""Windows that are drawn; of more an even share, the fitted line is that of all."""


def scatter_figure(
    result: Dynamics, observed: str, predictor: str, window: int, style: Style, height: int = 380
) -> go.Figure:
    """A dot a window and the fitted line."""
    drop, covariance = window_sums(result.series, observed, predictor, window)
    every = -(-len(drop) // MAX_DOTS) or 1
    shown = f", one window in {every} drawn" if every > 1 else ""
    figure = look.empty_figure(height, f"Drop of the entropy over the covariance{shown}")
    figure.update_layout(hovermode="closest")
    figure.add_trace(
        go.Scatter(
            x=covariance[::every],
            y=drop[::every],
            mode="markers",
            marker={"color": look.rgba(style.color, 0.55), "symbol": style.marker, "size": 6},
            hovertemplate="covariance %{x:.4g}, drop %{y:.4g} nats<extra></extra>",
            name="windows",
        )
    )
    row = result.fit(observed, predictor, window)
    if np.isfinite(row["slope"]) and len(covariance):
        x = np.array([covariance.min(), covariance.max()])
        y = row["intercept"] + row["slope"] * x
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=look.line_style(style), name="fitted"))
    look.zero_line(figure)
    figure.update_xaxes(title={"text": _axis(predictor, window)})
    figure.update_yaxes(title={"text": "drop of the entropy, nats"})
    return figure


def _axis(predictor: str, window: int) -> str:
    form = PREDICTORS[predictor].split(" over ")[0]
    return f"{form}, each step" if window == 1 else f"{form}, summed over {window} steps"


def windows_figure(
    result: Dynamics, observed: str, predictor: str, style: Style, height: int = 380
) -> go.Figure:
    """The slope with its interval over the window; windows that are too few have none."""
    figure = look.empty_figure(height, "Implied step size by window")
    figure.update_layout(hovermode="closest")
    fits = result.fits
    rows = fits[
        (fits["observed"] == observed) & (fits["predictor"] == predictor) & np.isfinite(fits["slope"])
    ]
    figure.add_trace(
        go.Scatter(
            x=[f"{window}" for window in rows["window"]],
            y=rows["slope"],
            mode="markers",
            marker={"color": style.color, "symbol": style.marker, "size": 8},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": rows["high"] - rows["slope"],
                "arrayminus": rows["slope"] - rows["low"],
                "color": look.rgba(style.color, 0.6),
                "thickness": 1.5,
                "width": 0,
            },
            customdata=rows[["r", "n"]],
            hovertemplate="%{y:.4g}; r = %{customdata[0]:.2f}, %{customdata[1]} windows<extra></extra>",
            name="slope",
        )
    )
    look.zero_line(figure)
    figure.update_xaxes(type="category", title={"text": "steps a window"})
    figure.update_yaxes(title={"text": "nats a unit of covariance"})
    return figure


def cumulated_figure(
    result: Dynamics, observed: str, predictor: str, style: Style, height: int = 260
) -> go.Figure:
    """Both summed from the start, the prediction scaled to the same end, also in random order."""
    figure = look.empty_figure(height, "Cumulated from the start")
    figure.update_layout(showlegend=True, legend={"y": -0.3, "yanchor": "top"})
    sums = cumulated(result.series, observed, predictor)
    for column, name, drawn in (
        ("observed", "observed drop", style),
        ("predicted", "covariance, scaled to the same end", PREDICTED),
        ("shuffled", "the same in random order", SHUFFLED),
    ):
        look.add_line(figure, sums["step"], sums[column], drawn, name)
    figure.update_xaxes(title={"text": "step"})
    figure.update_yaxes(title={"text": f"nats, {OBSERVED[observed].split(',')[0]}"})
    return figure
