"""Panels over the steps: one quantity each, a line a run, or a line and the seeds' spread a method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import chart_look as look
import pandas as pd
import plotly.graph_objects as go
from quantities import Quantity

from entropylab.analysis.trajectories import over_seeds, smoothed
from entropylab.plots.style import Style


@dataclass(frozen=True)
class Line:
    """One run as the charts call it: its name, the family whose runs are gathered, and its style."""

    name: str
    family: str
    style: Style


@dataclass(frozen=True)
class Drawing:
    """How the panels are drawn: gathered by family, smoothed over so many steps, over steps, tokens or hours."""

    by_family: bool
    window: int
    x: str
    log: bool = False
    points: int = look.MAX_POINTS

    @property
    def column(self) -> str:
        """The column of the horizontal axis."""
        return {"tokens": "tokens", "hours": "hours"}.get(self.x, "step")

    @property
    def x_title(self) -> str:
        """What the horizontal axis says."""
        return {"tokens": "tokens trained on", "hours": "hours since the first step"}.get(self.x, "step")


def panel_figure(
    quantity: Quantity, series: Mapping[Line, pd.DataFrame], drawing: Drawing, height: int = 230
) -> go.Figure:
    """A line a run over its raw ghost; gathered, the mean of each family in the band of its runs.

    Where some runs of a family are longer than others, they go on as ghosts: the mean is over all or none.
    """
    figure = look.empty_figure(height, quantity.title)
    if drawing.by_family:
        for members in _families(series).values():
            _family_line(figure, quantity, members, [series[line] for line in members], drawing)
    else:
        for line, frame in series.items():
            _run_line(figure, quantity, line, frame, drawing)
    figure.update_xaxes(title={"text": drawing.x_title})
    if drawing.log:
        figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    elif quantity.zero_line:
        look.zero_line(figure)
    elif quantity.from_zero:
        figure.update_yaxes(rangemode="tozero")
    if quantity.is_share:
        figure.update_yaxes(tickformat=".1%")
    return figure


def legend(lines: Sequence[Line], *, by_family: bool) -> list[tuple[str, Style]]:
    """One entry a line that can be told apart: a family, or the runs that share a style."""
    if by_family:
        return [(family, members[0].style) for family, members in _families(lines).items()]
    alike: dict[Style, list[Line]] = {}
    for line in lines:
        alike.setdefault(line.style, []).append(line)
    return [(_together(members), style) for style, members in alike.items()]


def _together(members: Sequence[Line]) -> str:
    families = ", ".join(dict.fromkeys(line.family for line in members))
    return members[0].name if len(members) == 1 else f"{families}, {len(members)} runs"


def _families(lines: Iterable[Line]) -> dict[str, list[Line]]:
    families: dict[str, list[Line]] = {}
    for line in lines:
        families.setdefault(line.family, []).append(line)
    return families


def _run_line(
    figure: go.Figure, quantity: Quantity, line: Line, frame: pd.DataFrame, drawing: Drawing
) -> None:
    if drawing.window > 1:
        look.add_ghost(figure, frame[drawing.column], frame["value"], line.style, points=drawing.points)
    smooth = smoothed(frame, drawing.window)
    shown = {"points": drawing.points, "hovertemplate": f"%{{y:{quantity.hover}}}"}
    look.add_line(figure, smooth[drawing.column], smooth["value"], line.style, line.name, **shown)


def _family_line(
    figure: go.Figure,
    quantity: Quantity,
    members: Sequence[Line],
    frames: Sequence[pd.DataFrame],
    drawing: Drawing,
) -> None:
    if len(members) == 1:
        _run_line(figure, quantity, members[0], frames[0], drawing)
        return
    gathered = over_seeds([smoothed(frame, drawing.window) for frame in frames])
    x, style = gathered[drawing.column], members[0].style
    look.add_band(figure, x, gathered["low"], gathered["high"], style.color, points=drawing.points)
    name = f"{members[0].family}, mean of {len(members)} runs"
    shown = {"points": drawing.points, "hovertemplate": f"%{{y:{quantity.hover}}}"}
    look.add_line(figure, x, gathered["value"], style, name, **shown)
    end = gathered["step"].max() if len(gathered) else -1
    for frame in frames:
        longer = frame[frame["step"] >= end]
        if len(longer) > 1:
            look.add_ghost(figure, longer[drawing.column], longer["value"], style, points=drawing.points)
