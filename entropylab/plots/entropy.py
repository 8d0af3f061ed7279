"""Entropy, accuracy and pass@8 over the steps of several runs, with bands over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .figure import GHOST_WIDTH, WIDE, band, line_kwargs, look, marker_of, new_figure, placeholder
from .series import Line, evaluation_values, lines, smooth, step_values
from .style import GHOST

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from entropylab.record.reader import Run

ENTROPY = "entropy_token_mean"


def entropy_lines(runs: Sequence[Run], column: str = ENTROPY) -> list[Line]:
    """The lines of the mean token entropy (nats) or of another summary column."""
    return lines(runs, {str(run.path): step_values(run, column) for run in runs})


def evaluation_lines(runs: Sequence[Run], metric: str, *, split: str = "validation") -> list[Line]:
    """The lines of an evaluation metric."""
    return lines(runs, {str(run.path): evaluation_values(run, metric, split=split) for run in runs})


def draw_steps(
    found: Sequence[Line], ax: Axes, ylabel: str, *, smoothed: bool = False, missing: str = ""
) -> Axes:
    """Lines over steps: the mean over seeds, their range as a band, raw values as a ghost where smoothed."""
    if not found:
        placeholder(ax, missing or f"No {ylabel} recorded.")
        return ax
    for line in found:
        _draw_line(line, ax, smoothed=smoothed)
    ax.set_xlabel("step")
    ax.set_ylabel(ylabel)
    ax.margins(x=0.02)
    return ax


def _draw_line(line: Line, ax: Axes, *, smoothed: bool) -> None:
    frame, style = line.frame, line.style
    mean = smooth(frame["mean"]) if smoothed else frame["mean"]
    few = len(mean) <= 30
    marker = {"marker": marker_of(style), "markersize": 2.5} if few else {}
    ax.plot(mean.index, mean, label=line.label, **line_kwargs(style), **marker)
    if smoothed and line.seeds == 1:
        ax.plot(frame.index, frame["mean"], color=style.color, alpha=GHOST, linewidth=GHOST_WIDTH)
    if line.seeds > 1:
        low, high = (smooth(frame[name]) if smoothed else frame[name] for name in ("low", "high"))
        band(ax, frame.index, low, high, style.color)


def draw_entropy(runs: Sequence[Run], ax: Axes) -> Axes:
    """Mean token entropy over steps; the axis starts at 0 nats."""
    draw_steps(entropy_lines(runs), ax, "entropy H (nats)", smoothed=True)
    if ax.axison:
        ax.set_ylim(bottom=0)
    return ax


def entropy_figure(runs: Sequence[Run]) -> Figure:
    """Three panels side by side: H, accuracy at T = 1 and pass@8 over steps."""
    figure, axes = new_figure(WIDE, 2.3, ncols=3, sharex=False)
    with look():
        draw_entropy(runs, axes[0])
        draw_steps(
            evaluation_lines(runs, "accuracy"), axes[1], "accuracy, T = 1", missing="No accuracy evaluated."
        )
        draw_steps(evaluation_lines(runs, "pass@8"), axes[2], "pass@8", missing="No pass@8 evaluated.")
        share_legend(figure, axes)
    return figure


def share_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels, in a row above them."""
    handles: dict[str, object] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if len(handles) > 1:
        figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=min(len(handles), 6))
