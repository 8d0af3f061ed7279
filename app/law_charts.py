"""The law view's figure: R against exp(H), the fitted line with both intervals, the ceiling, what came later."""

from __future__ import annotations

import chart_look as look
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from wording import percent

from entropylab.analysis.curve import CurveFit
from entropylab.plots.style import Style

CURVE_POINTS = 40
FORM = Style("#808080", "dot")


def law_figure(
    fit: CurveFit,
    style: Style,
    *,
    metric: str,
    later: pd.DataFrame | None = None,
    dark: bool = False,
    height: int = 470,
) -> go.Figure:
    """R against exp(H): points by step, line, conditional interval, form band, ceiling at H = 0."""
    figure = look.empty_figure(height)
    figure.update_layout(hovermode="closest", showlegend=True, margin={"t": 70})
    highest = float(max(fit.entropy.max(), -np.inf if later is None else later["entropy"].max()))
    _curve(figure, fit, style, top=highest)
    _points(figure, fit, dark)
    if later is not None:
        _later(figure, later, style)
    _ceiling(figure, fit, style)
    figure.update_xaxes(title={"text": "exp(H), H = entropy in nats"})
    figure.update_yaxes(title={"text": metric})
    _nats_on_top(figure, float(np.exp(highest)))
    return figure


def _curve(figure: go.Figure, fit: CurveFit, style: Style, top: float) -> None:
    """The line from H = 0 to the highest entropy, with the interval and the wider form band."""
    entropy = np.log(np.linspace(1.0, np.exp(top), CURVE_POINTS))
    band, x = fit.band(entropy), np.exp(entropy)
    level = percent(fit.level)
    if band["form_low"].notna().any():
        form = f"form band, {level} over five curve shapes"
        look.add_band(figure, x, band["form_low"], band["form_high"], FORM.color, form)
        for edge in ("form_low", "form_high"):
            look.add_line(figure, x, band[edge], FORM, form, showlegend=False, hoverinfo="skip")
    if band["low"].notna().any():
        name = f"{level} interval, conditional on the law"
        look.add_band(figure, x, band["low"], band["high"], style.color, name)
    figure.add_trace(
        go.Scatter(
            x=x,
            y=band["mean"],
            mode="lines",
            line={"color": style.color, "width": 2},
            name="R = b - a exp(H)",
            customdata=entropy,
            hovertemplate="line: R %{y:.3f} at H %{customdata:.3f} nats<extra></extra>",
        )
    )


def _points(figure: go.Figure, fit: CurveFit, dark: bool) -> None:
    """The fitted points, coloured by step."""
    bar = {
        "title": {"text": "step", "side": "top"},
        "thickness": 10,
        "len": 0.55,
        "outlinewidth": 0,
        "y": 0.6,
    }
    figure.add_trace(
        go.Scatter(
            x=np.exp(fit.entropy),
            y=fit.performance,
            mode="markers",
            marker={
                "color": fit.steps,
                "colorscale": look.sequential(dark),
                "size": 8,
                "line": {"width": 0.5, "color": look.AXIS},
                "colorbar": bar,
            },
            name="evaluations fitted",
            showlegend=False,
            customdata=np.column_stack([fit.steps, fit.entropy]),
            hovertemplate="step %{customdata[0]:.0f}<br>H %{customdata[1]:.3f} nats<br>R %{y:.3f}<extra></extra>",
        )
    )


def _later(figure: go.Figure, later: pd.DataFrame, style: Style) -> None:
    """What then happened: hollow points, each with the forecast interval that was made for it."""
    known = later[later["low"].notna()]
    if len(known):
        figure.add_trace(
            go.Scatter(
                x=np.exp(known["entropy"]),
                y=known["mean"],
                mode="markers",
                marker={"symbol": "line-ns-open", "size": 9, "color": look.rgba(style.color, 0.6)},
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": known["high"] - known["mean"],
                    "arrayminus": known["mean"] - known["low"],
                    "color": look.rgba(style.color, 0.6),
                    "thickness": 1,
                    "width": 2,
                },
                name="forecast for each later evaluation",
                hoverinfo="skip",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=np.exp(later["entropy"]),
            y=later["performance"],
            mode="markers",
            marker={"symbol": "circle-open", "size": 8, "color": "#D55E00", "line": {"width": 1.5}},
            name="what then happened",
            customdata=np.column_stack([later["step"], later["entropy"]]),
            hovertemplate="step %{customdata[0]:.0f}, not fitted<br>H %{customdata[1]:.3f} nats<br>"
            "R %{y:.3f}<extra></extra>",
        )
    )


def _ceiling(figure: go.Figure, fit: CurveFit, style: Style) -> None:
    """The ceiling b - a at H = 0, with its interval as whiskers where there is one."""
    interval = fit.intervals["ceiling"]
    whiskers = {}
    if interval is not None:
        whiskers["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [interval[1] - fit.ceiling],
            "arrayminus": [fit.ceiling - interval[0]],
            "color": style.color,
            "thickness": 2,
            "width": 6,
        }
    figure.add_trace(
        go.Scatter(
            x=[1.0],
            y=[fit.ceiling],
            mode="markers+text",
            marker={"symbol": "diamond", "size": 12, "color": style.color},
            text=[f"  ceiling {fit.ceiling:.3f}"],
            textposition="middle right",
            name="ceiling at H = 0",
            showlegend=False,
            hovertemplate="ceiling at H = 0: %{y:.3f}<extra></extra>",
            **whiskers,
        )
    )


def _nats_on_top(figure: go.Figure, highest: float) -> None:
    """A second axis on top that reads exp(H) back in nats."""
    pad = 0.03 * (highest - 1.0)
    span = [1.0 - pad, highest + pad]
    nats = _round_nats(float(np.log(highest)))
    figure.add_trace(
        go.Scatter(x=[1.0], y=[None], xaxis="x2", showlegend=False, hoverinfo="skip", mode="markers")
    )
    figure.update_layout(
        xaxis={"range": span},
        xaxis2={
            "overlaying": "x",
            "matches": "x",
            "side": "top",
            "tickvals": [float(np.exp(h)) for h in nats],
            "ticktext": [f"{h:g}" for h in nats],
            "title": {"text": "H, nats", "standoff": 4, "font": {"size": 12}},
            "showgrid": False,
            "ticks": "outside",
            "ticklen": 4,
            "tickcolor": look.AXIS,
            "showline": True,
            "linecolor": look.AXIS,
        },
        legend={"y": -0.2, "yanchor": "top"},
    )


def _round_nats(highest: float) -> list[float]:
    """About six round entropies from 0 to the highest."""
    steps = [m * 10.0**k for k in range(-4, 3) for m in (1, 2, 5)]
    step = next(s for s in steps if highest / s <= 6)
    return [round(i * step, 6) for i in range(int(highest / step) + 1)]
