"""Tables of an attribution: quadrants, positions, token strings and probabilities of sets of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from ..schema import QUADRANTS
from .attribution_intervals import MIN_COUNT, enrichment_row, share_bounds
from .cluster_bootstrap import Floats, cluster_error
from .quadrants import quadrant_codes, quadrant_table

Mask = NDArray[np.bool_]

MAX_BINS = 20
"""Most bins of the position histogram."""

MAX_TOKENS = 20
"""Most token strings listed for a set, the most frequent."""


def tokens_of(mask: Mask, weights: Floats | None) -> int:
    """The tokens that the rows of a mask stand for."""
    return int(mask.sum()) if weights is None else round(float(weights[mask].sum()))


def share_interval(
    inside: Mask, clusters: NDArray[np.intp], level: float, weights: Floats | None = None
) -> tuple[float, float]:
    """Wilson interval of the share of True, [n], at the effective sample size of the clusters, [n].

    See `share_bounds`. With `weights` [n], the tokens each row stands for, the share is their ratio and its
    standard error that of a ratio.
    """
    p = float(np.average(inside, weights=weights))
    _, local = np.unique(clusters, return_inverse=True)
    influence = inside.astype(np.float64) - p
    influence = influence if weights is None else influence * weights / weights.mean()
    return share_bounds(p, cluster_error(influence, local), int(local.max()) + 1, level)


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
    return with_bounds(table, bounds)


def with_bounds(quadrants: pd.DataFrame, bounds: Sequence[tuple[float, float]]) -> pd.DataFrame:
    """The table of quadrants with the interval of each share, a row each."""
    return quadrants.assign(share_low=[b[0] for b in bounds], share_high=[b[1] for b in bounds])


def position_table(
    position: NDArray, sets: Mapping[str, Mask], weights: Floats | None = None
) -> pd.DataFrame:
    """Counts and shares of each set over bins `first`..`last` of the position in the response (from 0)."""
    length = int(position.max()) + 1
    held = {name: None if weights is None else weights[mask] for name, mask in sets.items()}
    return position_bins({n: np.bincount(position[mask], held[n], length) for n, mask in sets.items()})


def position_bins(counts: Mapping[str, NDArray]) -> pd.DataFrame:
    """`position_table` from the tokens of each set at each position, [longest response]."""
    length = max(len(count) for count in counts.values())
    width = -(-length // MAX_BINS)
    first = np.arange(0, length, width)
    columns: dict[str, NDArray] = {"first": first, "last": np.minimum(first + width, length) - 1}
    for name, by_position in counts.items():
        count = np.add.reduceat(by_position, first)
        share = count / max(1, count.sum())
        columns |= {name: np.rint(count).astype(np.int64), f"{name} share": share}
    return pd.DataFrame(columns)


def probability_table(
    frame: pd.DataFrame, sets: Mapping[str, Mask], weights: Floats | None = None
) -> pd.DataFrame:
    """Probability, entropy (nats), advantage and covariance of each set: means and medians."""
    values = frame.astype({"entropy": np.float64})
    values["probability"] = np.exp(frame["logprob"].astype(np.float64))
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
        for token in most_frequent(unique, count):
            row = enrichment(ids == token, mask, prompts, level, w)
            rows.append({"set": name, "token_id": int(token)} | row)
    return token_frame(rows, vocabulary)


def most_frequent(ids: NDArray, count: NDArray) -> NDArray:
    """The ids that are listed of those of a set, ascending [m], by their counts [m]; ties by id."""
    return ids[np.argsort(-count, kind="stable")[:MAX_TOKENS]]


def token_frame(rows: Sequence[Mapping[str, object]], vocabulary: Sequence[str] | None) -> pd.DataFrame:
    """`token_table` from rows of set, token_id and enrichment."""
    columns = ["set", "token_id", "token", "count", "share", "share_all", "enrichment", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=columns)
    table["token"] = [_text(vocabulary, token) for token in table["token_id"]]
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
    """`enrichment_row` of the tokens of one kind, its standard error by clusters (delta method).

    There is an interval where the set holds 5 of the kind or more.
    """
    n, inside, both = (float(weights[rows].sum()) for rows in (slice(None), mask, is_token & mask))
    of_kind = float(weights[is_token].sum())
    error = None
    if np.count_nonzero(is_token & mask) >= MIN_COUNT:
        influence = (is_token & mask) * (n / both) - mask * (n / inside) - is_token * (n / of_kind) + 1
        scaled = influence * weights / weights.mean()
        error = cluster_error(scaled, np.unique(clusters, return_inverse=True)[1])
    return enrichment_row(n, inside, both, of_kind, error, level)


def _text(vocabulary: Sequence[str] | None, token: int) -> str | None:
    if vocabulary is None or not 0 <= token < len(vocabulary):
        return None
    return str(vocabulary[token])
