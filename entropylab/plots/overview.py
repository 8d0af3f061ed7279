"""The first picture: entropy collapses, R follows the law, rare tokens carry the covariance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from entropylab.analysis.curve_data import fit_run, law_points
from entropylab.analysis.tail_data import tail_inputs
from entropylab.errors import EntropylabError, InsufficientDataError
from entropylab.record.summary import top_count

from .curve import draw_curve
from .entropy import draw_entropy
from .figure import INK, MUTED, WIDE, line_kwargs, look, marker_of, new_figure, note, placeholder
from .series import by_method
from .style import method_label, run_style

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
    for key, members in groups.items():
        tokens = _tokens(members)
        if tokens is None:
            continue
        held = held_share(tokens["covariance"], SHARES)
        ax.plot(SHARES, held, label=method_label(key), **line_kwargs(run_style(key, key)))
        if key == next(iter(groups)):
            _mark(tokens, ax)
    if not ax.lines:
        placeholder(ax, "No tokens recorded.")
        return
    ax.set(xscale="log", ylim=(0, 1.02), xlabel="tokens of highest covariance")
    ax.set_ylabel("share of positive covariance")
    ax.set_xticks([1e-3, 1e-2, 1e-1, 1], ["0.1 %", "1 %", "10 %", "100 %"])


def held_share(covariance: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Share of Σ max(c, 0) that the top k = ⌈f n⌉ tokens hold for each fraction f, [m]; NaN without any."""
    positive = np.maximum(np.sort(covariance)[::-1], 0.0)
    counts = [top_count(fraction, len(positive)) for fraction in fractions]
    total = positive.sum()
    return np.cumsum(positive)[np.array(counts) - 1] / (total if total > 0 else np.nan)


def _tokens(members: Sequence[Run]) -> dict[str, np.ndarray] | None:
    """Covariance and centred margins of the first steps of every run; None where none holds tokens."""
    found = []
    for run in members:
        try:
            found.append(tail_inputs(run))
        except EntropylabError:
            continue
    names = ("covariance", "logprobs", "advantages")
    return {name: np.concatenate([f[name] for f in found]) for name in names} if found else None


def _mark(tokens: dict[str, np.ndarray], ax: Axes) -> None:
    """Write what the top 2 % hold and how many of them are rare tokens with below-average advantage."""
    covariance = tokens["covariance"]
    top = np.argsort(-covariance, kind="stable")[: top_count(MARKED, len(covariance))]
    rare = ((tokens["logprobs"][top] < 0) & (tokens["advantages"][top] < 0)).mean()
    share = float(held_share(covariance, np.array([MARKED]))[0])
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
