"""Tables of an attribution: quadrants, positions, token strings and probabilities of sets of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, norm

from ..schema import QUADRANTS
from .cluster_bootstrap import Floats, cluster_error
from .quadrants import quadrant_codes, quadrant_table

Mask = NDArray[np.bool_]

MAX_BINS = 20
"""Most bins of the position histogram."""

MAX_TOKENS = 20
"""Most token strings listed for a set, the most frequent."""

MIN_COUNT = 5
"""Fewest tokens of a kind from which an enrichment has an interval."""


def tokens_of(mask: Mask, weights: Floats | None) -> int:
    """The tokens that the rows of a mask stand for."""
    return int(mask.sum()) if weights is None else round(float(weights[mask].sum()))


def share_interval(
    inside: Mask, clusters: NDArray[np.intp], level: float, weights: Floats | None = None
) -> tuple[float, float]:
    """Wilson interval of the share of True, [n], at the effective sample size of the clusters, [n].

    n_eff = p (1 - p)/se² by clusters; the number of clusters where all tokens agree. With `weights` [n], the
    tokens each row stands for, the share is their ratio and se that of a ratio.
    """
    p = float(np.average(inside, weights=weights))
    _, local = np.unique(clusters, return_inverse=True)
    influence = inside.astype(np.float64) - p
    influence = influence if weights is None else influence * weights / weights.mean()
    error = cluster_error(influence, local)
    size = p * (1 - p) / error**2 if error > 0 else local.max() + 1
    z = norm.ppf((1 + level) / 2)
    middle, scale = (p + z**2 / (2 * size)) / (1 + z**2 / size), z / (1 + z**2 / size)
    half = scale * np.sqrt(p * (1 - p) / size + z**2 / (4 * size**2))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def quadrants_of(
    frame: pd.DataFrame, sets: Mapping[str, Mask], level: float, weights: Floats | None = None
) -> pd.DataFrame:
    """`quadrant_table` of each set, with an interval by prompts of each share (`share_low`, `_high`)."""
    codes = quadrant_codes(frame["l"].to_numpy(), frame["a"].to_numpy())
    table = quadrant_table(frame["covariance"].to_numpy(np.float64), codes, sets, weights)
    prompts = frame["prompt"].to_numpy()
    bounds = [
        share_interval(codes[mask] == q, prompts[mask], level, None if weights is None else weights[mask])
        if mask.any()
        else (np.nan, np.nan)
        for mask in sets.values()
        for q in range(len(QUADRANTS))
    ]
    return table.assign(share_low=[b[0] for b in bounds], share_high=[b[1] for b in bounds])


def position_table(
    position: NDArray, sets: Mapping[str, Mask], weights: Floats | None = None
) -> pd.DataFrame:
    """Counts and shares of each set over bins `first`..`last` of the position in the response (from 0)."""
    length = int(position.max()) + 1
    width = -(-length // MAX_BINS)
    first = np.arange(0, length, width)
    columns: dict[str, NDArray] = {"first": first, "last": np.minimum(first + width, length) - 1}
    for name, mask in sets.items():
        w = None if weights is None else weights[mask]
        count = np.bincount(position[mask] // width, w, minlength=len(first))
        share = count / max(1, count.sum())
        columns |= {name: np.rint(count).astype(np.int64), f"{name} share": share}
    return pd.DataFrame(columns)


def probability_table(
    frame: pd.DataFrame, sets: Mapping[str, Mask], weights: Floats | None = None
) -> pd.DataFrame:
    """Probability, entropy (nats), advantage and covariance of each set: means and medians."""
    values = frame.assign(probability=np.exp(frame["logprob"].astype(np.float64)))
    rows = []
    for name, mask in sets.items():
        inside, w = values[mask], None if weights is None else weights[mask]
        row: dict[str, object] = {"set": name, "n": tokens_of(mask, weights)}
        for column in ("probability", "entropy"):
            x = inside[column]
            row |= {f"{column}_mean": _mean(x, w), f"{column}_median": _median(x, w)}
        means = {
            f"{c}_mean": _mean(inside[c].astype(np.float64), w)
            for c in ("logprob", "advantage", "covariance")
        }
        rows.append(row | means)
    return pd.DataFrame(rows)


def _mean(values: pd.Series, weights: Floats | None) -> float:
    """Mean of the values that are there, NaN where there is none."""
    if weights is None:
        return float(values.mean())
    known = values.notna().to_numpy()
    return float(np.average(values[known], weights=weights[known])) if known.any() else float("nan")


def _median(values: pd.Series, weights: Floats | None) -> float:
    """Median of the values that are there; with weights the smallest that reaches half of them."""
    if weights is None:
        return float(values.median())
    known = values.notna().to_numpy()
    if not known.any():
        return float("nan")
    x, w = values[known].to_numpy(np.float64), weights[known]
    order = np.argsort(x, kind="stable")
    return float(x[order][np.searchsorted(np.cumsum(w[order]), w.sum() / 2)])


def token_table(
    frame: pd.DataFrame,
    sets: Mapping[str, Mask],
    vocabulary: Sequence[str] | None,
    level: float,
    weights: Floats | None = None,
) -> pd.DataFrame:
    """The most frequent token ids of each set, and their enrichment: share in the set over share in all.

    Interval and p are by prompts, see `enrichment`; q holds the false discovery rate over all tokens listed.
    """
    known = frame["token_id"].notna().to_numpy()
    ids = frame["token_id"].to_numpy(np.float64)
    prompts = frame["prompt"].to_numpy()
    w = np.ones(len(frame)) if weights is None else weights
    rows = []
    for name, mask in sets.items():
        unique, place = np.unique(ids[mask & known], return_inverse=True)
        count = np.bincount(place, w[mask & known], minlength=len(unique))
        for token in unique[np.argsort(-count, kind="stable")[:MAX_TOKENS]]:
            row = enrichment(ids == token, mask, prompts, level, w)
            rows.append({"set": name, "token_id": int(token), "token": _text(vocabulary, int(token))} | row)
    columns = ["set", "token_id", "token", "count", "share", "share_all", "enrichment", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(q=_false_discovery(table["p"].to_numpy(np.float64)))


def _false_discovery(p: Floats) -> Floats:
    """q of Benjamini and Hochberg (1995) over all p that are there, NaN elsewhere."""
    q, known = np.full(len(p), np.nan), np.isfinite(p)
    if known.any():
        q[known] = false_discovery_control(p[known])
    return q


def enrichment(
    is_token: Mask, mask: Mask, clusters: NDArray[np.intp], level: float, weights: Floats
) -> dict[str, float]:
    """Of tokens of one kind: their share of a set over their share of all, its interval and two-sided p.

    exp(ln ratio ± z se), se by clusters (delta method), where the set holds 5 of the kind or more.
    """
    n, inside, both = (float(weights[rows].sum()) for rows in (slice(None), mask, is_token & mask))
    share, overall = both / inside, float(weights[is_token].sum()) / n
    ratio = share / overall
    low = high = p = np.nan
    if np.count_nonzero(is_token & mask) >= MIN_COUNT:
        influence = (is_token & mask) * (n / both) - mask * (n / inside) - is_token / overall + 1
        scaled = influence * weights / weights.mean()
        error = cluster_error(scaled, np.unique(clusters, return_inverse=True)[1])
        half = norm.ppf((1 + level) / 2) * error
        low, high = ratio * np.exp(-half), ratio * np.exp(half)
        p = float(2 * norm.sf(abs(np.log(ratio)) / error)) if error > 0 else 0.0
    return {
        "count": round(both),
        "share": share,
        "share_all": overall,
        "enrichment": ratio,
        "low": low,
        "high": high,
        "p": p,
    }


def _text(vocabulary: Sequence[str] | None, token: int) -> str | None:
    if vocabulary is None or not 0 <= token < len(vocabulary):
        return None
    return str(vocabulary[token])
