"""The pictures of the study from its results: ``python docs/study/figures.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import law
import methods
import numpy as np
import pandas as pd
from arms import BASELINE, METHOD_REGIMES, REGIMES
from paired import Difference
from stored import CURVES, SCORES

from entropylab.plots.entropy import share_legend
from entropylab.plots.figure import MUTED, WIDE, band, line_kwargs, look, marker_of, new_figure, save
from entropylab.plots.style import NEUTRAL, method_label, method_style

OUT = Path(__file__).parent / "pictures"
CURVE_ARMS = (BASELINE, "placebo", "clip_cov", "kl_cov", "entropy_bonus")
CURVE_ROWS = {"entropy": "entropy H (nats)", "pass@8": "pass@8", "accuracy": "accuracy, T = 1"}
FOREST_MEASURES = ("greedy", "T=1", "pass@8", "pass@32")


def draw_curves(curves: pd.DataFrame) -> Any:
    """Entropy and validation scores over the steps, the mean over warm-ups with their range."""
    names = [regime.name for regime in METHOD_REGIMES if regime.name in set(curves["regime"])]
    figure, axes = new_figure(
        WIDE, 4.6, nrows=len(CURVE_ROWS), ncols=len(names), sharex="col", sharey="row", squeeze=False
    )
    with look():
        for column, name in enumerate(names):
            own = curves[curves["regime"] == name]
            for row, (metric, label) in enumerate(CURVE_ROWS.items()):
                ax = axes[row, column]
                for arm in CURVE_ARMS:
                    _draw_curve(own[own["arm"] == arm], metric, arm, ax)
                ax.axvline(REGIMES[name].release_step, color=MUTED, linewidth=0.5, linestyle=":")
                if column == 0:
                    ax.set_ylabel(label)
            axes[0, column].set_title(name)
            axes[-1, column].set_xlabel("step")
        share_legend(figure, axes.flat)
    return figure


def _draw_curve(rows: pd.DataFrame, metric: str, arm: str, ax: Any) -> None:
    if rows.empty:
        return
    found = rows.groupby("step")[metric].agg(["mean", "min", "max"]).reset_index()
    style = method_style(arm)
    band(ax, found["step"], found["min"], found["max"], style.color)
    ax.plot(found["step"], found["mean"], label=method_label(arm), **line_kwargs(style))


def draw_differences(scores: pd.DataFrame) -> Any:
    """Every arm less the baseline on the test split, always on (filled) and released (open)."""
    names = [
        regime.name for regime in METHOD_REGIMES if scores.query("regime == @regime.name").arm.nunique() > 1
    ]
    figure, axes = new_figure(
        WIDE,
        1.2 + 1.25 * len(names),
        nrows=len(names),
        ncols=len(FOREST_MEASURES),
        sharex="col",
        squeeze=False,
    )
    with look():
        for row, name in enumerate(names):
            _draw_regime(scores[scores["regime"] == name], name, axes[row])
        for column, measure in enumerate(FOREST_MEASURES):
            axes[0, column].set_title(measure)
            axes[-1, column].set_xlabel("less the baseline")
    return figure


def _draw_regime(scores: pd.DataFrame, name: str, axes: Any) -> None:
    arms = [
        arm.label for arm in REGIMES[name].arms if arm.label in set(scores["arm"]) and arm.label != BASELINE
    ]
    for ax, measure in zip(axes, FOREST_MEASURES, strict=True):
        ax.axvline(0, color=NEUTRAL, linewidth=0.6)
        for place, arm in enumerate(reversed(arms)):
            for shift, label in ((0.14, arm), (-0.14, f"{arm}-released")):
                found = methods.differences(scores, label, methods.MEASURES[measure])
                if found is not None:
                    _draw_difference(found, place + shift, arm, label != arm, ax)
        ax.set_yticks(range(len(arms)), [method_label(arm) for arm in reversed(arms)])
        ax.set_ylim(-0.6, len(arms) - 0.4)
        if ax is not axes[0]:
            ax.tick_params(labelleft=False)
    axes[0].set_ylabel(name)


def _draw_difference(found: Difference, y: float, arm: str, released: bool, ax: Any) -> None:
    style = method_style(arm)
    ax.plot([found.low, found.high], [y, y], color=style.color, linewidth=1)
    face = "white" if released else style.color
    ax.plot(found.mean, y, marker_of(style), color=style.color, markerfacecolor=face, markersize=3.5)


def draw_trade(scores: pd.DataFrame) -> Any:
    """Breadth kept over accuracy given up, always on (filled) and released (open), a panel a regime."""
    names = [regime.name for regime in METHOD_REGIMES if regime.name in set(scores["regime"])]
    figure, axes = new_figure(WIDE, 2.6, ncols=len(names), squeeze=False)
    with look():
        for ax, name in zip(axes[0], names, strict=True):
            own = scores[scores["regime"] == name]
            for arm in REGIMES[name].arms:
                for label in (arm.label, f"{arm.label}-released"):
                    _draw_trade(own, label, arm.label, ax)
            ax.axhline(0, color=NEUTRAL, linewidth=0.6)
            ax.axvline(0, color=NEUTRAL, linewidth=0.6)
            ax.set_title(name)
            ax.locator_params(axis="x", nbins=4)
            ax.set_xlabel("accuracy, T = 1")
        axes[0, 0].set_ylabel("pass@8")
        share_legend(figure, axes.flat)
    return figure


def _draw_trade(scores: pd.DataFrame, label: str, arm: str, ax: Any) -> None:
    x, y = (methods.differences(scores, label, methods.MEASURES[name]) for name in ("T=1", "pass@8"))
    if arm == BASELINE or x is None or y is None:
        return
    style, always = method_style(arm), label == arm
    look_of = {"color": style.color, "markerfacecolor": style.color if always else "white", "markersize": 4.5}
    ax.plot([x.mean] * 2, [y.low, y.high], color=style.color, linewidth=0.6, alpha=0.5)
    ax.plot([x.low, x.high], [y.mean] * 2, color=style.color, linewidth=0.6, alpha=0.5)
    name = method_label(arm) if always else None
    ax.plot(x.mean, y.mean, marker_of(style), linestyle="", label=name, **look_of)


def draw_law(runs: list[law.SizedRun]) -> Any:
    """R against exp(H) for every size with the fitted law, and the ceiling and a against the size."""
    figure, axes = new_figure(WIDE, 2.5, ncols=3)
    with look():
        for run in runs:
            colour = _size_colour(run.size, runs)
            order = np.argsort(run.entropy)
            axes[0].plot(np.exp(run.entropy), run.accuracy, ".", color=colour, markersize=2, alpha=0.6)
            x = np.exp(run.entropy[order])
            axes[0].plot(x, run.fit.b - run.fit.a * x, color=colour, linewidth=0.8)
        for ax, name in ((axes[1], "a"), (axes[2], "ceiling")):
            for run in runs:
                _draw_term(run, name, _size_colour(run.size, runs), ax)
            ax.set_xscale("log")
            ax.set_xlabel("parameters")
            ax.set_ylabel(name if name == "a" else "ceiling b - a")
        axes[0].set_xlabel("exp(H)")
        axes[0].set_ylabel("accuracy, T = 1")
    return figure


def _draw_term(run: law.SizedRun, name: str, colour: Any, ax: Any) -> None:
    bounds = run.fit.intervals[name]
    if bounds:
        ax.plot([run.size] * 2, bounds, color=colour, linewidth=0.8)
    ax.plot(
        run.size, getattr(run.fit, name), "o", color=colour, markerfacecolor=colour if bounds else "white"
    )


def _size_colour(size: int, runs: list[law.SizedRun]) -> Any:
    from matplotlib import colormaps

    sizes = sorted({run.size for run in runs})
    return colormaps["viridis"](0.9 * sizes.index(size) / max(1, len(sizes) - 1))


def drawings() -> Iterator[tuple[str, Any]]:
    """Every picture that there are results for, by name."""
    curves, scores = pd.read_parquet(CURVES), pd.read_parquet(SCORES)
    yield "curves", draw_curves(curves)
    yield "differences", draw_differences(scores)
    yield "trade", draw_trade(scores)
    runs = law.sized_runs()
    if runs:
        yield "law", draw_law(runs)


def main() -> None:
    """Write every picture."""
    OUT.mkdir(exist_ok=True)
    for name, figure in drawings():
        save(figure, OUT / f"{name}.svg")


if __name__ == "__main__":
    main()
