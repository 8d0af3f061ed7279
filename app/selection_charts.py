"""The selection view's figures: the quadrant plate, positions in the response, enriched tokens."""

from __future__ import annotations

from html import escape

import chart_look as look
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from metric_names import QUADRANTS
from wording import number, share

from entropylab.analysis.attribution import ALL, SELECTED, TAIL, Attribution
from entropylab.plots.style import DIVERGING, Style

TAIL_STYLE = Style("#808080", "dot", "diamond")
MAX_TOKENS = 14


def plate(result: Attribution) -> str:
    """The 2 x 2 plate as HTML: area = share of all tokens, colour = mean covariance, outlines = selected and tail."""
    table = result.quadrants.set_index(["set", "quadrant"])
    limit = float(np.nanmax(np.abs(table.loc[ALL]["mean_covariance"]))) or 1.0
    cells = "".join(_cell(table, name, words, limit) for name, words in QUADRANTS.items())
    selected = '<span><i class="el-outline"></i>share of the selected</span>' if result.n_selected else ""
    scale = f"linear-gradient(90deg,{DIVERGING[0]},{DIVERGING[1]},{DIVERGING[2]})"
    legend = (
        f'<div class="el-key"><span><i class="el-fill"></i>share of all tokens</span>'
        f"{selected}"
        f'<span><i class="el-dotted"></i>share of the {escape(TAIL)}</span>'
        f'<span>{number(-limit, 2)}<i class="el-scale" style="background:{scale}"></i>{number(limit, 2)} '
        "mean covariance, nats × advantage</span></div>"
    )
    return f'<div class="el-plate">{cells}</div>{legend}'


def _cell(table: pd.DataFrame, quadrant: str, words: str, limit: float) -> str:
    every, selected, tail = (table.loc[(name, quadrant)] for name in (ALL, SELECTED, TAIL))
    lines = [f"<b>{share(every['share'])}</b> of all tokens"]
    if np.isfinite(selected["share"]):
        lines.append(f"<b>{share(selected['share'])}</b> of the selected {_between(selected)}")
    lines.append(f"<b>{share(tail['share'])}</b> of the {escape(TAIL)} {_between(tail)}")
    lines.append(f"mean covariance {number(every['mean_covariance'], 2)}")
    fill = f"background:{mix(float(every['mean_covariance']), limit)}"
    squares = (
        f'<i class="el-fill" style="{_side(every["share"])};{fill}"></i>'
        f'<i class="el-dotted" style="{_side(tail["share"])}"></i>'
        f'<i class="el-outline" style="{_side(selected["share"])}"></i>'
    )
    text = "".join(f"<small>{line}</small>" for line in lines)
    return f'<div class="el-cell"><div class="el-box">{squares}</div><div><span>{escape(words)}</span>{text}</div></div>'


def _between(row: pd.Series) -> str:
    return f"({100 * row['share_low']:.0f}–{100 * row['share_high']:.0f})"


def _side(part: float) -> str:
    """A centred square whose area is the share of its box."""
    side = 100 * float(np.sqrt(part)) if np.isfinite(part) else 0.0
    return f"width:{side:.1f}%;height:{side:.1f}%" + ("" if side else ";display:none")


def mix(value: float, limit: float) -> str:
    """The diverging colour of a signed value: white at 0, full at ± limit; grey where there is none."""
    if not np.isfinite(value):
        return "#80808040"
    end = DIVERGING[2] if value > 0 else DIVERGING[0]
    weight = min(abs(value) / limit, 1.0)
    parts = [int(end[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 + weight * (part - 255)):02x}" for part in parts)


def positions_figure(result: Attribution, style: Style, height: int = 330) -> go.Figure:
    """Shares over the position in the response: all tokens as bars, the selected and the tail as lines."""
    figure = look.empty_figure(height, "Where in the response")
    figure.update_layout(showlegend=True, legend={"y": -0.24, "yanchor": "top"}, bargap=0.15)
    rows = result.positions
    middle = (rows["first"] + rows["last"]) / 2
    bars = {"marker": {"color": look.rgba("#808080", 0.3)}, "hovertemplate": "%{y:.1%}"}
    figure.add_trace(go.Bar(x=middle, y=rows[f"{ALL} share"], name="all tokens", **bars))
    lines = {TAIL: TAIL_STYLE} | ({SELECTED: style} if result.n_selected else {})
    for name, line in lines.items():
        marker = {"symbol": line.marker, "size": 6}
        extra = {"mode": "lines+markers", "marker": marker, "hovertemplate": "%{y:.1%}"}
        look.add_line(figure, middle, rows[f"{name} share"], line, name, **extra)
    figure.update_xaxes(title={"text": "position, tokens from the start"})
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", title={"text": "share of the set"})
    return figure


def enrichment_figure(result: Attribution, style: Style, height: int = 330) -> go.Figure:
    """Enrichment of the most frequent tokens of the selected (of the tail where none is), with intervals."""
    name = SELECTED if result.n_selected else TAIL
    rows = result.tokens[result.tokens["set"] == name].nlargest(MAX_TOKENS, "count").sort_values("enrichment")
    labels = [token_label(t, i) for t, i in zip(rows["token"], rows["token_id"], strict=True)]
    return _enriched(rows, labels, f"Enriched in the {name}, over all tokens", style, height)


def probability_figure(result: Attribution, style: Style, height: int = 300) -> go.Figure:
    """Enrichment of the selected (of the tail where none is) by the probability of the token."""
    name = SELECTED if result.n_selected else TAIL
    rows = result.bins[(result.bins["set"] == name) & (result.bins["quantity"] == "probability")]
    rows = rows[rows["count"] > 0]
    labels = [f"{low:g} to {high:g}" for low, high in zip(rows["bin_low"], rows["bin_high"], strict=True)]
    return _enriched(rows, labels, f"Probability of the {name}, over all tokens", style, height)


def _enriched(rows: pd.DataFrame, labels: list[str], title: str, style: Style, height: int) -> go.Figure:
    """One dot a row with its interval, on a logarithmic axis."""
    figure = look.empty_figure(height, title)
    figure.update_layout(hovermode="closest")
    known = rows["low"].notna()
    figure.add_trace(
        go.Scatter(
            x=rows["enrichment"],
            y=labels,
            mode="markers",
            marker={"color": style.color, "symbol": style.marker, "size": 8},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": (rows["high"] - rows["enrichment"]).where(known, 0),
                "arrayminus": (rows["enrichment"] - rows["low"]).where(known, 0),
                "color": look.rgba(style.color, 0.6),
                "thickness": 1.5,
                "width": 0,
            },
            customdata=np.column_stack([rows["count"], rows["low"], rows["high"]]),
            hovertemplate="%{y}: ×%{x:.2f} (%{customdata[1]:.2f} to %{customdata[2]:.2f}), "
            "%{customdata[0]} tokens<extra></extra>",
        )
    )
    figure.add_vline(x=1, line={"color": look.AXIS, "width": 1, "dash": "dot"}, layer="below")
    ends = rows[["enrichment", "low", "high"]].to_numpy()
    ends = ends[np.isfinite(ends) & (ends > 0)]
    figure.update_xaxes(look.log_axis(min(ends.min(), 1.0), max(ends.max(), 1.0)))
    figure.update_xaxes(title={"text": "times as frequent as among all tokens"})
    figure.update_yaxes(type="category", dtick=1, tickfont={"family": "monospace", "size": 11})
    return figure


def token_label(token: str | None, token_id: int) -> str:
    """The token as text with its spaces visible; its id where no vocabulary was recorded."""
    return f"id {token_id}" if token is None else token.replace(" ", "␣").replace("\n", "⏎") or "∅"
