"""Matplotlib's settings and the few strokes that all figures share; no pyplot, so it is safe in threads."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backend import ConstrainedLayoutEngine, Figure, cycler, matplotlib
from .style import (
    BAND,
    BLUE,
    DASHES,
    GREEN,
    LINE_WIDTH,
    MARKERS,
    NEUTRAL,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    Style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NARROW, WIDE = 3.3, 6.9
"""Inches: one column and the full width of a printed page."""

INK, MUTED = "#1c2733", "#5a6a79"
"""Text and axes, and the smaller notes; inline in a page both follow the page's theme."""

GHOST_WIDTH = 0.6
"""Points: raw values under a smoothed line."""

RC: Any = {
    "font.size": 8,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.prop_cycle": cycler(color=[NEUTRAL, ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE]),
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "lines.linewidth": LINE_WIDTH,
    "lines.markersize": 3,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "entropylab",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}

UNDATED = {"Date": None, "Creator": None}
"""Metadata that leaves nothing in an SVG to differ between two drawings."""


@contextmanager
def look() -> Iterator[None]:
    """Matplotlib's settings for the time of drawing; whatever the caller had set comes back after it."""
    with matplotlib.rc_context(RC):
        yield


def new_figure(width: float = NARROW, height: float = 2.4, **subplots: Any) -> tuple[Figure, Any]:
    """A figure of the given size in inches and its axes (``subplots`` as of ``Figure.subplots``)."""
    with look():
        engine = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
        figure = Figure(figsize=(width, height), layout=engine)
        return figure, figure.subplots(**subplots)


def draw(function: Any, result: Any, *, width: float = NARROW, height: float = 2.4) -> Figure:
    """``function(result, ax)`` on a figure of its own."""
    figure, ax = new_figure(width, height)
    with look():
        function(result, ax)
    return figure


def to_svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element for a page: text as text, ink in the page's colour, stable ids."""
    text = _svg(figure, transparent=True)
    text = text[text.index("<svg") :]
    return text.replace(INK, "currentColor").replace(MUTED, "var(--muted, #5a6a79)")


def svg_file(figure: Figure) -> str:
    """The figure as the text of an SVG file, on white; equal data give equal text."""
    return _svg(figure)


def _svg(figure: Figure, **settings: Any) -> str:
    buffer = io.StringIO()
    with look(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # text stays text: the viewer has its own fonts
        figure.savefig(buffer, format="svg", metadata=UNDATED, **settings)
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure; the ending of the path decides the format (svg, pdf, png). Equal data, equal SVG."""
    with look():
        figure.savefig(Path(path), metadata=UNDATED if Path(path).suffix == ".svg" else None)


def line_kwargs(style: Style, **extra: Any) -> dict[str, Any]:
    """Keywords of ``ax.plot`` for a style; ``extra`` wins."""
    return {"color": style.color, "linestyle": DASHES[style.dash], "linewidth": LINE_WIDTH, **extra}


def marker_of(style: Style) -> str:
    """Matplotlib's marker of a style."""
    return MARKERS[style.marker]


def band(ax: Axes, x: Any, low: Any, high: Any, color: str, **extra: Any) -> None:
    """An interval as a soft band without an edge."""
    ax.fill_between(x, low, high, color=color, alpha=BAND, linewidth=0, **extra)


def note(ax: Axes, text: str, *, x: float = 0.98, y: float = 0.98, **extra: Any) -> None:
    """A small grey sentence inside the axes, by default at the top right."""
    settings = {"ha": "right", "va": "top", "fontsize": 6.5, "color": MUTED, **extra}
    ax.text(x, y, text, transform=ax.transAxes, **settings)


def placeholder(ax: Axes, sentence: str) -> None:
    """In place of a chart that cannot be drawn: the sentence that says why."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, sentence, transform=ax.transAxes, ha="center", va="center", color=MUTED, wrap=True)
