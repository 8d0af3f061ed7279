"""The first picture: entropy collapses, R follows the law, rare tokens carry the covariance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from entropylab.analysis.concentration import top_mask, top_means, whole_size
from entropylab.analysis.curve_data import fit_run, law_points
from entropylab.analysis.tail_data import tail_inputs
from entropylab.errors import EntropylabError, InsufficientDataError
from entropylab.record.summary import top_count

from .curve import draw_curve
from .entropy import draw_entropy
from .figure import INK, MUTED, WIDE, line_kwargs, look, marker_of, new_figure, note, placeholder
from .series import by_method
from .style import method_label, run_style
from .text import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from entropylab.record.reader import Run

SHARES = np.geomspace(1e-3, 1.0, 61)
MARKED = 0.02
"""The top fraction whose share is written into the third panel."""
CURVED = 0.05
"""Below this p of a curvature in exp(H), and without an interval, the figure does not speak of the law."""
BASELINE, SHOWN = "baseline", "clip_cov"


def overview_figure(runs: Sequence[Run]) -> Figure:
    """Three small panels, the baseline against Clip-Cov (or the first two methods there are).

    Seeds of one method share a line with a band. Errors: InsufficientDataError without any run.
    """
    groups = _chosen(by_method(runs))
    figure, axes = new_figure(WIDE, 2.3, ncols=3)
    with look():
        draw_entropy([run for members in groups.values() for run in members], axes[0])
        _draw_law(groups, axes[1])
        _draw_concentration(groups, axes[2])
        axes[0].set_title("Entropy collapses")
        axes[2].set_title("Rare tokens carry covariance")
        if axes[0].lines:
            axes[0].legend(loc="lower left")
    return figure


def _chosen(groups: dict[str, list[Run]]) -> dict[str, list[Run]]:
    if not groups:
        raise InsufficientDataError("An overview needs at least one run")
    wanted = [key for key in (BASELINE, SHOWN) if key in groups]
    wanted += [key for key in groups if key not in wanted]
    return {key: groups[key] for key in wanted[:2]}


def _draw_law(groups: dict[str, list[Run]], ax: Axes) -> None:
    """The first method's law, fitted on its first run, with the points of every run on top."""
    first = next(iter(groups))
    try:
        fit = fit_run(groups[first][0])
    except EntropylabError:
        placeholder(ax, "Too few evaluations for a fit.")
        return
    bent = fit.curvature_p is not None and fit.curvature_p < CURVED
    doubtful = bent or fit.withheld is not None
    ax.set_title("Accuracy rises as H falls" if doubtful else "Accuracy follows the law")
    draw_curve(fit, ax, style=run_style(first, first), performance="accuracy R, T = 1", entropy_axis=False)
    for key, members in list(groups.items())[1:]:
        _draw_points(key, members, ax)
    if fit.r2 is not None:
        note(ax, f"R² {fit.r2:.2f}, {fit.n_points} points")


def _draw_points(key: str, members: Sequence[Run], ax: Axes) -> None:
    style = run_style(key, key)
    for run in members:
        try:
            points = law_points(run)
        except EntropylabError:
            continue
        ax.plot(
            np.exp(points["entropy"]), points["performance"], marker_of(style), color=style.color, alpha=0.7
        )


def _draw_concentration(groups: dict[str, list[Run]], ax: Axes) -> None:
    """Share of the positive covariance that the top share of the tokens holds, on a log axis."""
    estimated: list[str] = []
    for key, members in groups.items():
        tokens = _tokens(members)
        if tokens is None:
            continue
        estimated += [] if tokens["weights"] is None else [method_label(key)]
        held = held_share(tokens["covariance"], SHARES, tokens["weights"])
        ax.plot(SHARES, held, label=drawn(method_label(key)), **line_kwargs(run_style(key, key)))
        if key == next(iter(groups)):
            _mark(tokens, ax)
    if not ax.lines:
        placeholder(ax, "No tokens recorded.")
        return
    ax.set(xscale="log", ylim=(0, 1.02), xlabel="tokens of highest covariance")
    ax.set_ylabel("share of positive covariance")
    ax.set_xticks([1e-3, 1e-2, 1e-1, 1], ["0.1 %", "1 %", "10 %", "100 %"])
    if estimated:
        whose = f"{', '.join(estimated)}: " if len(estimated) < len(ax.get_legend_handles_labels()[1]) else ""
        note(ax, f"{whose}estimated from a sample", y=0.03, va="bottom")


def held_share(
    covariance: np.ndarray, fractions: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Share of Σ max(c, 0) that the top k = ⌈f n⌉ tokens hold for each fraction f, [m]; NaN without any.

    With ``weights`` [n], the tokens that a row stands for, n is their sum.
    """
    order = np.argsort(-covariance, kind="stable")
    positive = np.maximum(covariance[order], 0.0)
    weight = np.ones(len(order)) if weights is None else weights[order]
    size = whole_size(weight.sum())
    counts = np.array([top_count(fraction, size) for fraction in fractions])
    total = weight @ positive
    return counts * top_means(positive, tuple(fractions), weight) / (total if total > 0 else np.nan)


def _tokens(members: Sequence[Run]) -> dict[str, Any] | None:
    """Covariance and centred margins of the first steps of every run; None where none holds tokens.

    ``weights``: how many tokens each row stands for, None where every run holds all of them.
    """
    found = []
    for run in members:
        try:
            found.append(tail_inputs(run))
        except EntropylabError:
            continue
    if not found:
        return None
    tokens = {n: np.concatenate([f[n] for f in found]) for n in ("covariance", "logprobs", "advantages")}
    sampled = any(f["weights"] is not None for f in found)
    parts = [np.ones(len(f["covariance"])) if f["weights"] is None else f["weights"] for f in found]
    return {**tokens, "weights": np.concatenate(parts) if sampled else None}


def _mark(tokens: dict[str, Any], ax: Axes) -> None:
    """Write what the top 2 % hold and how many of them are rare tokens with below-average advantage."""
    covariance, weights = tokens["covariance"], tokens["weights"]
    size = len(covariance) if weights is None else whole_size(weights.sum())
    top = top_mask(covariance, top_count(MARKED, size), weights)
    below = (tokens["logprobs"][top] < 0) & (tokens["advantages"][top] < 0)
    rare = np.average(below, weights=None if weights is None else weights[top])
    share = float(held_share(covariance, np.array([MARKED]), weights)[0])
    ax.plot([MARKED], [share], "o", color=INK, markersize=3.5, zorder=4)
    text = f"top 2 % hold {percent(share)};\n{percent(rare)} of them rare,\nadvantage below mean"
    place: dict[str, Any] = {
        "xytext": (0.04, 0.97),
        "textcoords": "axes fraction",
        "va": "top",
        "fontsize": 6.5,
    }
    line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.5}
    ax.annotate(text, (MARKED, share), **place, arrowprops=line)


def percent(share: float) -> str:
    """A share in percent, with a decimal where rounding would claim all or none."""
    near = 0 < share < 0.01 or 0.99 < share < 1
    return f"{100 * share:.{int(near)}f} %"
