"""Entropy, accuracy and pass@8 over the steps of several runs, with bands over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..analysis.comparison_figures import EVALUATIONS, compared_metrics, label_of
from .figure import GHOST_WIDTH, WIDE, band, line_kwargs, look, marker_of, new_figure, placeholder
from .series import Line, evaluation_lines, step_lines
from .style import GHOST
from .text import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from entropylab.record.reader import Run

ENTROPY = "entropy_token_mean"
FEW = 50
"""Points up to which a line shows them as markers."""


def draw_lines(found: Sequence[Line], ax: Axes, ylabel: str, *, missing: str = "") -> Axes:
    """Lines over steps: the mean over seeds, their range as a band, raw values of a single run as a ghost."""
    if not found:
        placeholder(ax, missing or f"No {ylabel} recorded.")
        return ax
    for line in found:
        _draw_line(line, ax)
    ax.set_xlabel("step")
    ax.set_ylabel(ylabel)
    ax.margins(x=0.02)
    return ax


def _draw_line(line: Line, ax: Axes) -> None:
    frame, style = line.frame, line.style
    marker: dict[str, Any] = {"marker": marker_of(style), "markersize": 2.5} if len(frame) <= FEW else {}
    if line.raw is not None and line.seeds == 1:
        raw = line.raw
        ax.plot(raw["step"], raw["value"], color=style.color, alpha=GHOST, linewidth=GHOST_WIDTH)
    if line.seeds > 1:
        band(ax, frame["step"], frame["low"], frame["high"], style.color)
    ax.plot(frame["step"], frame["value"], label=drawn(line.label), **line_kwargs(style), **marker)


def draw_entropy(runs: Sequence[Run], ax: Axes) -> Axes:
    """Mean token entropy over steps; the axis starts at 0 nats."""
    found = step_lines(runs, ENTROPY)
    draw_lines(found, ax, "entropy H (nats)", missing="No entropy recorded.")
    if found:
        ax.set_ylim(bottom=0)
    return ax


def draw_evaluation(runs: Sequence[Run], metric: str, ax: Axes, *, ylabel: str | None = None) -> Axes:
    """An evaluation metric of the validation split over steps."""
    return draw_lines(evaluation_lines(runs, metric), ax, ylabel or metric, missing=f"No {metric} evaluated.")


def entropy_figure(runs: Sequence[Run]) -> Figure:
    """Panels side by side: H, and accuracy at T = 1 and pass@8, or what else was evaluated, over steps."""
    shown = shown_metrics(runs)
    figure, axes = new_figure(WIDE, 2.4, ncols=1 + len(shown))
    with look():
        draw_entropy(runs, axes[0])
        for metric, ax in zip(shown, axes[1:], strict=True):
            draw_evaluation(runs, metric, ax, ylabel=label_of(metric))
        share_legend(figure, axes)
    return figure


def shown_metrics(runs: Sequence[Run]) -> tuple[str, ...]:
    """Accuracy at T = 1 and pass@8, or where neither was evaluated up to two other metrics."""
    metrics = compared_metrics(runs)
    return ("accuracy", "pass@8") if metrics == EVALUATIONS else metrics[:2]


def share_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels, in a row above them."""
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if len(handles) > 1:
        figure.legend(
            list(handles.values()), list(handles), loc="outside upper left", ncols=min(len(handles), 6)
        )
