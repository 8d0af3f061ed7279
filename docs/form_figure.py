"""The picture of both forms of Clip-Cov and of KL-Cov, on one recorded update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

import entropylab as el
from entropylab.plots.figure import WIDE, look, new_figure
from entropylab.plots.style import BLUE, GREEN, LIGHT, NEUTRAL, ORANGE, PURPLE, VERMILLION

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEP, FRACTION = 10, 0.01
"""The update that is drawn, and the fraction of its tokens; the paper's 0.02 % of it would be one token."""
COLUMNS = ["step", "update", "sample_id", "position", "logprob", "covariance", "clipped"]
LOG_RATIOS = np.linspace(-2.0, 2.0, 201)


def form_figure(run: el.Run) -> Figure:
    """Left: whom the two forms of Clip-Cov choose. Right: the divergences of KL-Cov on the sampled token."""
    figure, axes = new_figure(WIDE, 2.7, ncols=2, width_ratios=(1.35, 1))
    with look():
        draw_choices(first_update(run), axes[0])
        draw_divergences(axes[1])
    return figure


def first_update(run: el.Run) -> pd.DataFrame:
    """The tokens of the first update of the step."""
    frame = pa.Table.from_batches(run.tokens(steps=[STEP], columns=COLUMNS)).to_pandas()
    return frame[frame["update"] == 0]


def draw_choices(tokens: pd.DataFrame, ax: Axes) -> None:
    """Covariance over log-probability, with the tokens that each form chooses."""
    band = el.ClipCov(fraction=FRACTION)
    given = (tokens["covariance"], tokens["sample_id"], tokens["position"])
    clipped = tokens["clipped"].fillna(False)
    chosen = {
        "band, drawn at random": (band.choose_numpy(*given, clipped, seed=0, step=STEP), ORANGE, "s"),
        "top": (el.ClipCov.top(FRACTION).choose_numpy(*given, seed=0, step=STEP), VERMILLION, "^"),
    }
    ax.axhspan(band.low, band.high, color=ORANGE, alpha=0.12, linewidth=0)
    ax.plot(tokens["logprob"], tokens["covariance"], "o", color=LIGHT, markersize=2)
    for name, (mask, color, marker) in chosen.items():
        rows = tokens[mask]
        label = f"{name}: {len(rows)} of {len(tokens)}"
        ax.plot(
            rows["logprob"], rows["covariance"], marker, color=color, markersize=4, label=label, mfc="none"
        )
    ax.set_title("Clip-Cov: which tokens")
    ax.set(xlabel="log π of the token (nats)", ylabel="covariance (nats × advantage)")
    ax.legend(loc="upper right")


def draw_divergences(ax: Axes) -> None:
    """The penalties on D = log π - log π_ref of the sampled token."""
    d = LOG_RATIOS
    lines = {
        "|D| (the authors' code)": (np.abs(d), GREEN, "-"),
        "k1: D": (d, NEUTRAL, ":"),
        "k2: D²/2": (d**2 / 2, BLUE, "--"),
        "k3: exp(-D) - 1 + D": (np.exp(-d) - 1 + d, PURPLE, "-."),
    }
    for name, (values, color, dash) in lines.items():
        ax.plot(d, values, color=color, linestyle=dash, label=name)
    ax.axhline(0, color=LIGHT, linewidth=0.6)
    ax.set_title("KL-Cov: penalty of a chosen token")
    ax.set(xlabel="D = log π - log π_ref (nats)", ylabel="nats", ylim=(-2.1, 4.6))
    ax.legend(loc="upper right")
