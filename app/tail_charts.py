"""The tails view's figures: survival of both sides beside independence, and the tail index over thresholds."""

from __future__ import annotations

from collections.abc import Mapping

import chart_look as look
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from entropylab.analysis.tails import TailReport
from entropylab.analysis.trajectories import smoothed
from entropylab.plots.style import DIVERGING, Style

SIDES = {
    "right": ("positive covariance", Style(DIVERGING[2], "solid", "circle")),
    "left": ("negative covariance (size)", Style(DIVERGING[0], "solid", "square")),
}
DECADES = 3.0
ESTIMATORS = {"hill": "Hill", "moment": "moment", "gpd": "generalised Pareto"}


def survival_figure(report: TailReport, height: int = 420) -> go.Figure:
    """P(X > x) of both sides on logarithmic axes; dotted, the same under independence of its margins (N1)."""
    figure = look.empty_figure(height)
    figure.update_layout(showlegend=True, legend={"y": -0.2, "yanchor": "top"}, margin={"t": 12})
    for side, (label, style) in SIDES.items():
        rows = report.survival[report.survival["tail"] == side]
        hover = "%{y:.2e}"
        look.add_line(figure, rows["x"], _positive(rows["observed"]), style, label, hovertemplate=hover)
        if rows["independent"].notna().any():
            null = Style(style.color, "dot")
            name = f"{label}, independent (N1)"
            look.add_line(figure, rows["x"], _positive(rows["independent"]), null, name, hovertemplate=hover)
    figure.update_xaxes(type="log", title={"text": "x, nats × advantage"}, exponentformat="power", dtick=1)
    figure.update_xaxes(range=_last_decades(report.survival["x"]))
    figure.update_yaxes(
        type="log", title={"text": "share of tokens beyond x"}, exponentformat="power", dtick=1
    )
    figure.update_yaxes(range=_decades(report.survival["observed"]))
    return figure


def index_figure(report: TailReport, estimator: str, height: int = 250) -> go.Figure:
    """The tail index ξ by one estimator over the number k of tokens above the threshold, with intervals."""
    figure = look.empty_figure(height, f"ξ, {ESTIMATORS[estimator]}")
    for side, (label, style) in SIDES.items():
        rows = report.estimates[report.estimates["tail"] == side].sort_values("k")
        look.add_band(figure, rows["k"], rows[f"{estimator}_low"], rows[f"{estimator}_high"], style.color)
        look.add_line(
            figure,
            rows["k"],
            rows[estimator],
            style,
            label,
            mode="lines+markers",
            marker={"symbol": style.marker, "size": 6},
            hovertemplate="%{y:.2f}",
            error_y=_whiskers(rows, estimator) if len(rows) == 1 else None,
        )
    look.zero_line(figure)
    ks = report.estimates["k"]
    if len(ks):
        figure.update_xaxes(look.log_axis(ks.min(), ks.max()))
    figure.update_xaxes(title={"text": "k, tokens above the threshold"})
    return figure


def _whiskers(rows: pd.DataFrame, estimator: str) -> dict[str, object]:
    """The interval at a single threshold, where a band has no width."""
    value, low, high = (rows[f"{estimator}{end}"] for end in ("", "_low", "_high"))
    shown = {"symmetric": False, "array": high - value, "arrayminus": value - low}
    return {"type": "data", "thickness": 1.5, "width": 4} | shown


def lorenz_figure(report: TailReport, height: int = 235) -> go.Figure:
    """Share of the positive mass that the top share of the tokens holds; dotted, if all tokens held the same."""
    figure = look.empty_figure(height, "Positive mass held by the top tokens")
    style = SIDES["right"][1]
    rows = report.lorenz
    look.add_line(figure, rows["token_share"], rows["mass_share"], style, "held", hovertemplate="%{y:.1%}")
    even = Style("#808080", "dot")
    look.add_line(figure, [0.0, 1.0], [0.0, 1.0], even, "if all held the same", hoverinfo="skip")
    figure.update_xaxes(title={"text": "share of the tokens, largest covariance first"}, tickformat=".0%")
    figure.update_yaxes(tickformat=".0%", range=[0, 1.02])
    return figure


def course_figure(series: Mapping[str, pd.DataFrame], window: int, height: int = 260) -> go.Figure:
    """Mean covariance of the top tokens over the steps, a line a fraction, over its raw ghost."""
    figure = look.empty_figure(height, "Mean covariance of the top tokens, nats × advantage")
    figure.update_layout(showlegend=True, legend={"y": -0.3, "yanchor": "top"})
    for (label, frame), style in zip(series.items(), _COURSE, strict=False):
        if window > 1:
            look.add_ghost(figure, frame["step"], _positive(frame["value"]), style)
        smooth = smoothed(frame, window)
        look.add_line(
            figure, smooth["step"], _positive(smooth["value"]), style, label, hovertemplate="%{y:.3g}"
        )
    figure.update_xaxes(title={"text": "step"})
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    return figure


_COURSE = (
    Style("#D55E00", "solid"),
    Style("#E69F00", "dash"),
    Style("#CC79A7", "dashdot"),
    Style("#0072B2", "dot"),
    Style("#56B4E9", "solid"),
)


def shared_y(figures: list[go.Figure], report: TailReport) -> None:
    """The same range of ξ for all estimators, so that they can be compared."""
    columns = [f"{name}{end}" for name in ESTIMATORS for end in ("", "_low", "_high")]
    values = report.estimates[columns].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    if len(values):
        low, high = min(0.0, float(values.min())), float(values.max())
        pad = 0.06 * (high - low) or 0.1
        for figure in figures:
            figure.update_yaxes(range=[low - pad, high + pad])


def _positive(values: pd.Series) -> np.ndarray:
    """Zeros as gaps: a logarithmic axis cannot show them."""
    return values.where(values > 0).to_numpy(dtype=float)


def _last_decades(x: pd.Series) -> list[float] | None:
    """The last decades of x: the many values next to 0 would push the tail to the edge."""
    if x.empty:
        return None
    high = float(np.log10(x.max()))
    return [max(float(np.log10(x.min())), high - DECADES) - 0.05, high + 0.1]


def _decades(observed: pd.Series) -> list[float]:
    """The decades that the data cover; the null may go on far below the last token."""
    positive = observed[observed > 0]
    low = float(np.log10(positive.min())) if len(positive) else -4.0
    return [low - 0.3, 0.1]
