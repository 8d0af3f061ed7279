"""Proxies beside the exact influence: figures by quantity, over the training, by quadrant and entropy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import chart_look as look
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from metric_names import QUADRANTS

from entropylab.analysis.proxy_audit import CONTROL, COVARIANCE, ProxyAudit
from entropylab.plots.style import BLUE, PURPLE, SKY, Style

FIGURES = {
    "spearman": "Rank correlation",
    "overlap": "Overlap",
    "capture": "Capture",
    "saved": "Entropy change saved",
    "raises": "Chosen tokens that raise H",
}
"""Figure of an audit -> its name on the page."""
UNITS = {
    "spearman": "with the exact influence",
    "overlap": "of the best choice",
    "capture": "of the best choice's effect",
    "saved": "of all lowering effect",
    "raises": "of the chosen tokens",
}
"""Figure -> what its axis says."""
NUMBERS = ("capture", "spearman")
"""Figures that are ratios or correlations; the others are shares."""
GROUPS = {"quadrant": "By quadrant", "entropy": "By entropy of the state, quarters of each update"}
ROW, FRAME, LEGEND = 46, 104, 40
SPREAD = 0.6
"""Of a row's height, that its dots take."""
LOWEST = -1.0
"""Where values below it are drawn: a ratio to a best choice that does next to nothing has no bound."""

_PROXY_STYLES = {
    "-A (log p + H)": Style(BLUE, "dash", "triangle-up"),
    "-A p (log p + H)": Style(PURPLE, "dashdot", "cross"),
    "STEER": Style(SKY, "dash", "x"),
}


@dataclass(frozen=True)
class Series:
    """Rows of an audit under one label and style."""

    label: str
    style: Style
    rows: pd.DataFrame


def proxy_style(proxy: str, own: Style) -> Style:
    """The style of a quantity beside others of one run: the covariance has the run's, the control its dots."""
    return _PROXY_STYLES.get(proxy, Style(own.color, "dot", "square") if proxy == CONTROL else own)


def by_proxy(audit: ProxyAudit, table: pd.DataFrame, own: Style) -> list[Series]:
    """The rows of a table of one run, a series a quantity."""
    named = [proxy for proxy in audit.proxies["proxy"] if (table["proxy"] == proxy).any()]
    return [Series(proxy, proxy_style(proxy, own), table[table["proxy"] == proxy]) for proxy in named]


def proxies_figure(series: Sequence[Series], figure: str) -> go.Figure:
    """A row a quantity, a dot with its interval a run."""
    rows = list(dict.fromkeys(proxy for one in series for proxy in one.rows["proxy"]))
    return _rows_figure(series, figure, "proxy", {proxy: proxy for proxy in rows}, FIGURES[figure])


def groups_figure(series: Sequence[Series], figure: str, by: str) -> go.Figure:
    """A row a quadrant or quarter of the entropy, a dot with its interval a quantity."""
    groups = dict.fromkeys(group for one in series for group in one.rows["group"])
    labels = {group: QUADRANTS.get(group, group).replace(", ", ",<br>") for group in groups}
    labels = {group: label.replace(" of the entropy", "") for group, label in labels.items()}
    return _rows_figure(series, figure, "group", labels, GROUPS[by])


def course_figure(series: Sequence[Series], figure: str, title: str, height: int = 320) -> go.Figure:
    """A line each over the steps with influence; bands: intervals, of the covariance alone beside others."""
    made = look.empty_figure(height, title)
    made.update_layout(showlegend=True, legend=_legend(height))
    for one in series:
        if one.label == COVARIANCE or all(other.label != COVARIANCE for other in series):
            low, high = (one.rows[f"{figure}_{end}"].clip(lower=LOWEST) for end in ("low", "high"))
            look.add_band(made, one.rows["step"], low, high, one.style.color)
    for one in series:
        marker = {"symbol": one.style.marker, "size": 7}
        extra = {"mode": "lines+markers", "marker": marker, "hovertemplate": _value(figure, "y")}
        look.add_line(
            made, one.rows["step"], one.rows[figure].clip(lower=LOWEST), one.style, one.label, **extra
        )
    look.zero_line(made)
    made.update_xaxes(title={"text": "step"})
    made.update_yaxes(title={"text": UNITS[figure]}, tickformat=_format(figure))
    return made


def _rows_figure(
    series: Sequence[Series], figure: str, column: str, labels: dict[str, str], title: str
) -> go.Figure:
    """Dots with intervals on rows, the first row on top, the series of a row below each other."""
    crowded = max(1.0, len(series) / 4)
    height = round(FRAME + ROW * crowded * len(labels)) + LEGEND * (len(series) > 1)
    made = look.empty_figure(height, title)
    made.update_layout(hovermode="closest", showlegend=len(series) > 1, legend=_legend(height))
    places = {name: len(labels) - 1 - i for i, name in enumerate(labels)}
    for offset, one in zip(_offsets(len(series)), series, strict=True):
        made.add_trace(_dots(one, figure, [places[name] + offset for name in one.rows[column]]))
    look.upright_zero_line(made)
    if figure == "capture":
        made.add_vline(x=1, line={"color": look.AXIS, "width": 1, "dash": "dot"}, layer="below")
    ticks = {"tickvals": list(places.values()), "ticktext": list(labels.values())}
    made.update_yaxes(showgrid=False, ticks="", range=[-0.6, len(labels) - 0.4], **ticks)
    made.update_xaxes(title={"text": UNITS[figure]}, nticks=6, showgrid=True, tickformat=_format(figure))
    return made


def _legend(height: int) -> dict[str, object]:
    """Below the title of the horizontal axis, whatever the height."""
    return {"y": -56 / (height - 110), "yanchor": "top"}


def _offsets(count: int) -> Iterable[float]:
    return np.linspace(SPREAD / 2, -SPREAD / 2, count) if count > 1 else [0.0]


def _dots(one: Series, figure: str, places: list[float]) -> go.Scatter:
    true = one.rows[[figure, f"{figure}_low", f"{figure}_high"]]
    values, low, high = (column for _, column in true.clip(lower=LOWEST).items())
    told, *bounds = (_value(figure, f"customdata[{i}]") for i in range(3))
    return go.Scatter(
        x=values,
        y=places,
        mode="markers",
        name=one.label,
        marker={"color": one.style.color, "symbol": one.style.marker, "size": 8},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": (high - values).fillna(0),
            "arrayminus": (values - low).fillna(0),
            "color": look.rgba(one.style.color, 0.6),
            "thickness": 1.5,
            "width": 0,
        },
        customdata=true.assign(proxy=one.rows["proxy"]),
        hovertemplate=f"{one.label}, %{{customdata[3]}}: {told} ({' to '.join(bounds)})<extra></extra>",
    )


def _value(figure: str, name: str) -> str:
    """Plotly's text of a value."""
    return f"%{{{name}:{_format(figure)}}}"


def _format(figure: str) -> str:
    """A number with two decimals, or a share as per cent."""
    return ".2f" if figure in NUMBERS else ".0%"
