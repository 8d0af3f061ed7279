"""Tables of an attribution: quadrants, positions, token strings and probabilities of sets of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

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


def share_interval(inside: Mask, clusters: NDArray[np.intp], level: float) -> tuple[float, float]:
    """Wilson interval of the share of True, [n], at the effective sample size of the clusters, [n].

    n_eff = p (1 - p)/se² by clusters; the number of clusters where all tokens agree.
    """
    p = float(inside.mean())
    _, local = np.unique(clusters, return_inverse=True)
    error = cluster_error(inside.astype(np.float64) - p, local)
    size = p * (1 - p) / error**2 if error > 0 else local.max() + 1
    z = norm.ppf((1 + level) / 2)
    middle, scale = (p + z**2 / (2 * size)) / (1 + z**2 / size), z / (1 + z**2 / size)
    half = scale * np.sqrt(p * (1 - p) / size + z**2 / (4 * size**2))
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


def quadrants_of(frame: pd.DataFrame, sets: Mapping[str, Mask], level: float) -> pd.DataFrame:
    """`quadrant_table` of each set, with an interval by prompts of each share (`share_low`, `_high`)."""
    codes = quadrant_codes(frame["l"].to_numpy(), frame["a"].to_numpy())
    table = quadrant_table(frame["covariance"].to_numpy(np.float64), codes, sets)
    prompts = frame["prompt"].to_numpy()
    bounds = [
        share_interval(codes[mask] == q, prompts[mask], level) if mask.any() else (np.nan, np.nan)
        for mask in sets.values()
        for q in range(len(QUADRANTS))
    ]
    return table.assign(share_low=[b[0] for b in bounds], share_high=[b[1] for b in bounds])


def position_table(position: NDArray, sets: Mapping[str, Mask]) -> pd.DataFrame:
    """Counts and shares of each set over bins `first`..`last` of the position in the response (from 0)."""
    length = int(position.max()) + 1
    width = -(-length // MAX_BINS)
    first = np.arange(0, length, width)
    columns: dict[str, NDArray] = {"first": first, "last": np.minimum(first + width, length) - 1}
    for name, mask in sets.items():
        count = np.bincount(position[mask] // width, minlength=len(first))
        columns |= {name: count, f"{name} share": count / max(1, count.sum())}
    return pd.DataFrame(columns)


def probability_table(frame: pd.DataFrame, sets: Mapping[str, Mask]) -> pd.DataFrame:
    """Probability, entropy (nats), advantage and covariance of each set: means and medians."""
    values = frame.assign(probability=np.exp(frame["logprob"].astype(np.float64)))
    rows = []
    for name, mask in sets.items():
        inside = values[mask]
        row: dict[str, object] = {"set": name, "n": int(mask.sum())}
        for column in ("probability", "entropy"):
            row |= {f"{column}_mean": inside[column].mean(), f"{column}_median": inside[column].median()}
        means = {
            f"{c}_mean": inside[c].astype(np.float64).mean() for c in ("logprob", "advantage", "covariance")
        }
        rows.append(row | means)
    return pd.DataFrame(rows)


def token_table(
    frame: pd.DataFrame, sets: Mapping[str, Mask], vocabulary: Sequence[str] | None, level: float
) -> pd.DataFrame:
    """The most frequent token ids of each set, and their enrichment: share in the set over share in all.

    The interval is exp(ln ratio ± z se), se by clusters of prompts (delta method), from 5 tokens on.
    """
    known = frame["token_id"].notna().to_numpy()
    ids = frame["token_id"].to_numpy(np.float64)
    prompts = frame["prompt"].to_numpy()
    rows = []
    for name, mask in sets.items():
        unique, count = np.unique(ids[mask & known], return_counts=True)
        for token in unique[np.argsort(-count, kind="stable")[:MAX_TOKENS]]:
            row = _enrichment(ids == token, mask, prompts, level)
            rows.append({"set": name, "token_id": int(token), "token": _text(vocabulary, int(token))} | row)
    columns = ["set", "token_id", "token", "count", "share", "share_all", "enrichment", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _enrichment(is_token: Mask, mask: Mask, clusters: NDArray[np.intp], level: float) -> dict[str, float]:
    n, inside, both = len(mask), int(mask.sum()), int((is_token & mask).sum())
    share, overall = both / inside, float(is_token.mean())
    ratio = share / overall
    low = high = np.nan
    if both >= MIN_COUNT:
        influence = (is_token & mask) * (n / both) - mask * (n / inside) - is_token / overall + 1
        half = norm.ppf((1 + level) / 2) * cluster_error(influence.astype(np.float64), clusters)
        low, high = ratio * np.exp(-half), ratio * np.exp(half)
    return {
        "count": both,
        "share": share,
        "share_all": overall,
        "enrichment": ratio,
        "low": low,
        "high": high,
    }


def _text(vocabulary: Sequence[str] | None, token: int) -> str | None:
    if vocabulary is None or not 0 <= token < len(vocabulary):
        return None
    return str(vocabulary[token])


def top_mask(covariance: Floats, k: int) -> Mask:
    """The k largest values, ties by order, [n]."""
    mask = np.zeros(len(covariance), dtype=bool)
    mask[np.argsort(-covariance, kind="stable")[:k]] = True
    return mask
