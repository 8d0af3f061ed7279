"""What another control would have chosen: by quadrant, by micro-batch size, over the steps."""

from __future__ import annotations

import chart_look as look
import plotly.graph_objects as go
from metric_names import QUADRANTS

from entropylab.analysis.replay_report import Replay
from entropylab.plots.style import Style

ITS_OWN = Style("#808080", "dash", "square")


def quadrants_figure(result: Replay, style: Style, height: int = 240) -> go.Figure:
    """Shares of the chosen tokens by quadrant."""
    figure = look.empty_figure(height, "Chosen tokens by quadrant")
    names = list(reversed(QUADRANTS))
    counts = [result.quadrants[name] for name in names]
    shares = [count / max(result.n_chosen, 1) for count in counts]
    figure.add_trace(
        go.Bar(
            x=shares,
            y=[QUADRANTS[name].replace(", ", ",<br>") for name in names],
            orientation="h",
            marker={"color": look.rgba(style.color, 0.75)},
            customdata=counts,
            hovertemplate="%{x:.1%}, %{customdata:,} tokens<extra></extra>",
            name="share of the chosen",
        )
    )
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(tickformat=".0%", range=[0, 1], title={"text": "share of the chosen"})
    return figure


def pieces_figure(result: Replay, style: Style, height: int = 240) -> go.Figure:
    """What is left of the whole-batch choice, and what is added, over the responses seen at a time."""
    figure = look.empty_figure(height, "The same in micro-batches")
    figure.update_layout(showlegend=True, legend={"y": -0.35, "yanchor": "top"})
    pieces = result.pieces.sort_values("responses")
    x = [f"{n}" for n in pieces["responses"]] + ["all"]
    for column, end, name, line in (
        ("overlap", 1.0, "of the whole-batch choice", style),
        ("extra", 0.0, "its own alone", ITS_OWN),
    ):
        figure.add_trace(
            go.Scatter(
                x=x,
                y=[*pieces[column], end],
                mode="lines+markers",
                line=look.line_style(line),
                marker={"symbol": line.marker, "size": 7},
                name=name,
                hovertemplate="%{y:.1%}",
            )
        )
    figure.update_xaxes(type="category", title={"text": "responses at a time"})
    figure.update_yaxes(tickformat=".0%", range=[-0.03, 1.03])
    return figure


def updates_figure(result: Replay, style: Style, height: int = 220) -> go.Figure:
    """Tokens chosen in each update, beside those that the run selected."""
    figure = look.empty_figure(height, "Tokens chosen an update")
    figure.update_layout(showlegend=True, legend={"y": -0.35, "yanchor": "top"})
    rows = result.updates
    x = [f"{s}.{u}" if rows["update"].max() else s for s, u in zip(rows["step"], rows["update"], strict=True)]
    marker = {"symbol": style.marker, "size": 6}
    look.add_line(figure, x, rows["chosen"], style, "this control", mode="lines+markers", marker=marker)
    if result.n_selected:
        look.add_line(figure, x, rows["selected"], ITS_OWN, "the run itself")
    figure.update_xaxes(
        type="category", nticks=12, title={"text": "step" + ".update" * bool(rows["update"].max())}
    )
    figure.update_yaxes(rangemode="tozero", title={"text": "tokens"})
    return figure
