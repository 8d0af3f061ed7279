"""What all Plotly figures of the dashboard share: one layout, one way to draw a line, a ghost and a band."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import guide
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from guidance import GUIDANCE
from numpy.typing import ArrayLike, NDArray

from entropylab.plots.style import BAND, DIVERGING, GHOST, LINE_WIDTH, SEQUENTIAL, Style

MAX_POINTS = 1000
"""Points of a line on screen; longer ones keep the smallest and the largest value of each stretch."""

PICKS = 100
"""Points of a line that can be clicked; the nearest one in x is taken."""
UNSEEN = "to click"

INK = {False: "#4A4E57", True: "#C9C7C2"}
"""Text of the axes by dark: a contrast of more than 7 against Streamlit's pages."""
FONT = "'Source Sans', 'Source Sans Pro', sans-serif"
CLEAR = "rgba(0,0,0,0)"
GRID = "rgba(128,128,128,0.16)"
AXIS = "rgba(128,128,128,0.55)"
CONFIG = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    "responsive": True,
}


def is_dark() -> bool:
    """Whether the page is dark now."""
    return st.context.theme.type == "dark"


def draw(
    figure: go.Figure,
    key: str,
    place: Any = st,
    *,
    tells: str = "",
    data: pd.DataFrame | None = None,
    pick: bool = False,
) -> float | None:
    """Put a figure on the page, its text in the ink of the page; under it what to read off, CSV and guide.

    tells: what to read off, where `GUIDANCE` does not hold it by the key. data: the exact numbers, where the
    figure holds a thinned or shaped form of them. pick: whether a click on a point is told; the answer is its
    x, None without one.
    """
    figure.layout.font.color = INK[is_dark()]
    picture = {"format": st.session_state.get("picture", "svg"), "filename": f"entropylab-{key}", "scale": 2}
    box = place.container(gap=None)
    config = CONFIG | {"toImageButtonOptions": picture}
    picking = {"on_select": "rerun", "selection_mode": "points"} if pick else {}
    if pick:
        _make_pickable(figure)
    state = box.plotly_chart(figure, config=config, key=key, theme=None, **picking)
    if told := tells or GUIDANCE.get(key):
        box.caption(told)
    foot = box.container(horizontal=True, vertical_alignment="center", key=f"foot_{key}")
    foot.download_button(
        "CSV",
        partial(_csv, figure, data),
        file_name=f"entropylab-{key}.csv",
        mime="text/csv",
        key=f"csv_{key}",
        on_click="ignore",
        type="tertiary",
        icon=":material/download:",
    )
    foot.caption(guide.link(), width="content")
    points = state["selection"]["points"] if pick else []
    return float(points[0]["x"]) if points else None


def _make_pickable(figure: go.Figure) -> None:
    """Lay unseen points on the lines: plotly chooses no point of a bare line."""
    lines = [trace for trace in figure.data if trace.mode == "lines" and trace.hoverinfo != "skip"]
    for trace in lines:
        every = max(1, len(trace.x) // PICKS)
        marker = {"size": 9, "color": trace.line.color, "opacity": 0}
        figure.add_trace(
            go.Scatter(
                x=trace.x[::every],
                y=trace.y[::every],
                mode="markers",
                marker=marker,
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 0}},
                hoverinfo="none",
                showlegend=False,
                name=UNSEEN,
            )
        )


def _csv(figure: go.Figure, data: pd.DataFrame | None) -> bytes:
    if data is None:
        parts = [
            pd.DataFrame({"name": trace.name, "x": np.asarray(trace.x), "y": np.asarray(trace.y)})
            for trace in figure.data
            if trace.x is not None
            and trace.y is not None
            and len(trace.x) == len(trace.y)
            and trace.name != UNSEEN
        ]
        data = pd.concat(parts) if parts else pd.DataFrame()
    return data.to_csv(index=False).encode()


def rgba(color: str, alpha: float) -> str:
    """A ``#rrggbb`` colour with an opacity."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def diverging(limit: float) -> dict[str, object]:
    """Plotly's colour settings of a signed quantity: symmetric, white at 0."""
    stops = [[0.0, DIVERGING[0]], [0.5, DIVERGING[1]], [1.0, DIVERGING[2]]]
    return {"colorscale": stops, "cmin": -limit, "cmid": 0.0, "cmax": limit}


def sequential(dark: bool) -> list[list[object]]:
    """The colour scale of the step: late = most contrast against the page."""
    low, high = SEQUENTIAL
    return [[0.0, "#2F5D8C"], [1.0, low]] if dark else [[0.0, "#B9D3EA"], [1.0, high]]


def empty_figure(height: int = 260, title: str = "") -> go.Figure:
    """A figure with the common layout: clear background, quiet grid, a small bold title at the top left."""
    axis = {
        "showline": True,
        "linecolor": AXIS,
        "linewidth": 1,
        "gridcolor": GRID,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": AXIS,
        "automargin": True,
        "title": {"standoff": 10, "font": {"size": 12}},
    }
    layout = {
        "height": height,
        "margin": {"l": 8, "r": 12, "t": 34, "b": 8},
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"size": 12, "family": FONT},
        "hovermode": "x unified",
        "hoverlabel": {"font": {"size": 12}},
        "showlegend": False,
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 11}},
        "dragmode": "zoom",
        "template": "none",
        "xaxis": axis | {"showgrid": False},
        "yaxis": axis,
        "title": {"text": f"<b>{title}</b>" if title else "", "x": 0, "xref": "paper", "font": {"size": 13}},
    }
    return go.Figure(layout=layout)


def line_style(style: Style, width: float = LINE_WIDTH) -> dict[str, object]:
    """Plotly's line settings of a run's or a method's style."""
    return {"color": style.color, "dash": style.dash, "width": width}


def thinned(x: ArrayLike, y: ArrayLike, limit: int = MAX_POINTS) -> tuple[NDArray, NDArray]:
    """At most ``limit`` points: the smallest and the largest of each stretch, in their order."""
    xs, ys = np.asarray(x), np.asarray(y, dtype=float)
    if len(xs) <= limit:
        return xs, ys
    table = _stretches(ys, limit // 2)
    starts = np.arange(len(table)) * table.shape[1]
    known = np.isfinite(table)
    lowest = np.where(known, table, np.inf).argmin(axis=1)
    highest = np.where(known, table, -np.inf).argmax(axis=1)
    kept = np.unique(np.concatenate([starts + lowest, starts + highest]))
    return xs[kept], ys[kept]


def _stretches(values: NDArray, count: int) -> NDArray:
    """The values in rows, at most so many and of one length; the last is filled up with NaN."""
    width = -(-len(values) // count)
    table = np.full((-(-len(values) // width), width), np.nan)
    table.flat[: len(values)] = values
    return table


def _hull(x: NDArray, low: NDArray, high: NDArray, limit: int) -> tuple[NDArray, NDArray, NDArray]:
    """A band of at most ``limit`` places that covers the whole one: the lowest and the highest of each stretch."""
    if len(x) <= limit:
        return x, low, high
    table = [_stretches(values, limit) for values in (x, low, high)]
    return np.nanmean(table[0], axis=1), np.nanmin(table[1], axis=1), np.nanmax(table[2], axis=1)


def add_line(
    figure: go.Figure,
    x: ArrayLike,
    y: ArrayLike,
    style: Style,
    name: str,
    *,
    points: int = MAX_POINTS,
    **extra: object,
) -> None:
    """One line of at most so many points; ``extra`` goes to the trace."""
    xs, ys = thinned(x, y, points)
    settings = {"mode": "lines", "line": line_style(style), "name": name, "connectgaps": False} | extra
    figure.add_trace(go.Scatter(x=xs, y=ys, **settings))


def add_ghost(
    figure: go.Figure, x: ArrayLike, y: ArrayLike, style: Style, *, points: int = MAX_POINTS
) -> None:
    """The raw data under a smoothed line: faint, without hover."""
    line = {"color": rgba(style.color, GHOST), "width": 1}
    add_line(figure, x, y, style, "raw", points=points, line=line, hoverinfo="skip", showlegend=False)


def add_band(
    figure: go.Figure,
    x: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    color: str,
    name: str = "",
    *,
    points: int = MAX_POINTS,
    **extra: object,
) -> None:
    """An interval or a spread as a soft band without an edge, its outline of at most so many points."""
    xs, lows, highs = (np.asarray(v, dtype=float) for v in (x, low, high))
    keep = np.isfinite(lows) & np.isfinite(highs)
    xs, lows, highs = _hull(xs[keep], lows[keep], highs[keep], points // 2)
    settings = {"fillcolor": rgba(color, BAND), "showlegend": bool(name)} | extra
    figure.add_trace(
        go.Scatter(
            x=np.concatenate([xs, xs[::-1]]),
            y=np.concatenate([highs, lows[::-1]]),
            fill="toself",
            mode="lines",
            line={"width": 0, "color": CLEAR},
            hoverinfo="skip",
            name=name,
            **settings,
        )
    )


_ZERO = {"color": AXIS, "width": 1, "dash": "dot"}


def zero_line(figure: go.Figure) -> None:
    """A quiet line where the quantity is 0."""
    figure.add_shape(x0=0, x1=1, y0=0, y1=0, xref="paper", layer="below", line=_ZERO)


def upright_zero_line(figure: go.Figure) -> None:
    """A quiet upright line where the quantity is 0."""
    figure.add_shape(x0=0, x1=0, y0=0, y1=1, yref="paper", layer="below", line=_ZERO)


def log_axis(low: float, high: float) -> dict[str, object]:
    """A logarithmic axis whose ticks are round numbers written out: 1, 2, 5 of each decade, fewer if many."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = (1, 2, 5) if len(decades) <= 4 else (1,)
    ticks = [step * 10.0**power for power in decades for step in steps]
    shown = [tick for tick in ticks if low / 1.2 <= tick <= high * 1.2] or [low]
    return {"type": "log", "tickvals": shown, "ticktext": [f"{tick:,g}" for tick in shown]}


def share_x(figures: Iterable[go.Figure], low: float, high: float) -> None:
    """The same range of the horizontal axis for all figures of a view."""
    pad = (high - low) * 0.02 or 1.0
    for figure in figures:
        figure.update_xaxes(range=[low - pad, high + pad])
