"""How far the choice inside micro-batches strays from that on the whole batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figure import look, new_figure, placeholder
from .style import NEUTRAL, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from entropylab.analysis.replay_report import Replay


def draw_replay(result: Replay, ax: Axes | None = None) -> Axes:
    """Overlap with the whole-batch choice and error of the covariance over responses a micro-batch."""
    with look():
        if ax is None:
            _, ax = new_figure()
        if draw_pieces(result, ax).lines:
            ax.legend(loc="lower left", bbox_to_anchor=(-0.18, 0.99), ncols=2, columnspacing=1)
    return ax


def draw_pieces(result: Replay, ax: Axes) -> Axes:
    """The same without a legend, for panels that share one."""
    with look():
        pieces = result.pieces.sort_values("responses")
        if pieces.empty:
            placeholder(ax, "No update has more responses than a micro-batch.")
            return ax
        ax.plot(pieces["responses"], pieces["overlap"], "o-", color=ORANGE, label="of the whole-batch choice")
        ax.plot(
            pieces["responses"],
            pieces["covariance_error"],
            "s--",
            color=NEUTRAL,
            label="error of the covariance",
        )
        ax.set(
            xscale="log",
            ylim=(0, None),
            xlabel="responses a micro-batch",
            ylabel="share; error in deviations",
        )
        ax.set_xticks(pieces["responses"], [str(size) for size in pieces["responses"]])
        ax.minorticks_off()
    return ax
