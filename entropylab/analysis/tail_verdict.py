"""The verdict in three lines: shape of the tail, against independent margins, concentration."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from .cluster_bootstrap import Clusters
from .tail_power_law import PowerLawCheck

SHAPES = (
    "power-law-like",
    "heavier than exponential",
    "exponential-like",
    "bounded",
    "threshold-dependent",
    "too few clusters",
)
MARGINS = ("heavier than independent", "no heavier than independent", "cannot say")

MIN_CLUSTERS = 50
"""Fewest clusters (prompts) from which the shape is judged."""

MIN_CLUSTERS_RATIO = 20
"""Fewest clusters from which the ratio to independence is judged (its size holds from there)."""

WINDOW = (0.001, 0.01)
"""Thresholds that decide the shape: the top 0.1 % to 1 % of the tokens."""

NEAR = 0.1
"""Differences of ξ below this do not count, whatever their interval: a normal tail has ξ near -0.1 here."""

DECISIVE = (0.002, 0.02)
"""The top means whose ratio to independence decides the second line, each at half the error rate."""

ERROR_RATE = 0.025
"""One-sided error rate of the second line, shared by the decisive fractions."""

_NEXT_TO_NOTHING = 20.0
"""Times the net sum above which the number says only that both sides cancel."""


class Line(NamedTuple):
    """One line of the verdict and the sentence that explains it."""

    phrase: str
    why: str


def judge_shape(estimates: pd.DataFrame, check: PowerLawCheck | None, clusters: Clusters) -> Line:
    """Shape of one tail from ξ over thresholds (rows of the `estimates` table, one tail)."""
    if not clusters.known or clusters.count < MIN_CLUSTERS:
        return Line("too few clusters", _too_few(clusters))
    inside = estimates[estimates["fraction"].between(*WINDOW)]
    rows = inside if len(inside) else estimates.tail(1)
    if rows.empty or not np.isfinite(rows["gpd_low"]).all():
        return Line("too few clusters", "Too few tokens above any threshold: ξ needs 200 in many clusters.")
    first, seen = rows.iloc[0], _index_text(rows)
    if _drifts(rows):
        return Line(
            "threshold-dependent", f"{seen}: the answer depends on the threshold, so no one shape holds."
        )
    if first["gpd_low"] > 0 and first["gpd"] > NEAR:
        return _heavy(rows, check, seen)
    if (rows["gpd_high"] < -NEAR).all():
        return Line("bounded", f"{seen}: below 0 at every threshold, a tail with an end.")
    return Line("exponential-like", f"{seen}: compatible with an exponential decay.")


def _heavy(rows: pd.DataFrame, check: PowerLawCheck | None, seen: str) -> Line:
    everywhere = bool((rows["gpd_low"] > 0).all())
    where = "every threshold" if everywhere else f"the top {100 * rows['fraction'].iloc[0]:g} %"
    above = f"above 0 at {where}"
    if check is None:
        return Line("heavier than exponential", f"{seen}: {above}; a power law could not be tested.")
    tests = f"goodness-of-fit p = {check.fit_p:.2g}, curvature p = {check.curvature_p:.2g}"
    if check.favoured:
        tests += f"; likelihood favours {' and '.join(name.replace('_', ' ') for name in check.favoured)}"
    if everywhere and check.supported:
        law = f"a power law of exponent {check.exponent:.2f} is not rejected ({tests})"
        return Line("power-law-like", f"{seen}: {above}; {law}, over the observed range.")
    return Line("heavier than exponential", f"{seen}: {above}, but a power law is not supported ({tests}).")


def _drifts(rows: pd.DataFrame) -> bool:
    bounds = rows[["gpd", "gpd_low", "gpd_high"]].to_numpy()
    return any(abs(a[0] - b[0]) > NEAR and (a[1] > b[2] or b[1] > a[2]) for a, b in combinations(bounds, 2))


def _index_text(rows: pd.DataFrame) -> str:
    parts = [
        f"{r.gpd:.2f} ({r.gpd_low:.2f} to {r.gpd_high:.2f}) at the top {100 * r.fraction:g} %"
        for r in rows.itertuples()
    ]
    return "Tail index ξ = " + ", ".join(parts)


def _too_few(clusters: Clusters) -> str:
    if clusters.kind == "token":
        return "Neither prompts nor responses are known, so the uncertainty of ξ is unknown."
    return f"{clusters.count} {clusters.kind}s; the shape needs at least {MIN_CLUSTERS}."


def judge_margins(nulls: pd.DataFrame, clusters: Clusters) -> Line:
    """Whether the right tail is heavier than the product of its independent margins (`nulls` table)."""
    right = nulls[(nulls["tail"] == "right") & nulls["fraction"].isin(DECISIVE)]
    if not np.isfinite(right["independent"]).any():
        return Line("cannot say", "Without log-probabilities and advantages independence cannot be judged.")
    if not clusters.known or clusters.count < MIN_CLUSTERS_RATIO or not np.isfinite(right["p"]).any():
        groups = "no known groups" if clusters.kind == "token" else f"{clusters.count} {clusters.kind}s"
        why = f"the error of the ratio needs at least {MIN_CLUSTERS_RATIO} clusters, here {groups}."
        return Line("cannot say", f"{_ratio_text(right)}; {why}")
    heavier = np.nanmin(right["p"]) <= ERROR_RATE / len(right)
    return Line(MARGINS[0] if heavier else MARGINS[1], f"{_ratio_text(right)}.")


def _ratio_text(rows: pd.DataFrame) -> str:
    parts = []
    for r in rows.iloc[::-1].itertuples():
        interval = f" ({r.ratio_low:.2f} to {r.ratio_high:.2f})" if np.isfinite(r.ratio_low) else ""
        parts.append(f"{r.ratio:.2f}{interval} for the top {100 * r.fraction:g} %")
    return "Mean covariance over that of independent margins: " + ", ".join(parts)


def judge_concentration(table: pd.DataFrame) -> Line:
    """How much of the covariance the top 2 % hold, with its interval and three denominators."""
    row = table[np.isclose(table["fraction"], 0.02)].iloc[0]
    low, high = 100 * row["top_share_positive_low"], 100 * row["top_share_positive_high"]
    interval = f" ({low:.0f} to {high:.0f} %)" if np.isfinite(low) else " (no interval)"
    held = f"{_percent(row['top_share_positive'])} of the positive mass{interval}"
    rest = _beside_net(row["top_share_net"])
    absolute = _percent(row["top_share_absolute"])
    why = f"The top 2 % of the tokens hold {held}, {absolute} of the absolute mass; {rest}."
    return Line(f"the top 2 % hold {held}", why)


def _beside_net(times: float) -> str:
    if not np.isfinite(times):
        return "the net sum is not positive"
    if times > _NEXT_TO_NOTHING:
        return "the net sum is next to nothing beside that"
    return f"{times:.3g} times the net sum"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else "an undefined share"
