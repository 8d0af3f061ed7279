"""Where in probability, entropy and prompts the tokens of a set lie, against all tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .attribution_tables import Mask, enrichment
from .cluster_bootstrap import Floats
from .concentration import share_of_most

PROBABILITIES = (0.0, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 1.0)
"""Edges of the bins of a token's probability."""

ENTROPY_BINS = 10
"""Bins of the token entropy, by its deciles over all tokens."""

_DECILES = np.linspace(0, 1, ENTROPY_BINS + 1)


def bin_table(
    frame: pd.DataFrame, sets: Mapping[str, Mask], level: float, weights: Floats | None = None
) -> pd.DataFrame:
    """One row a (set, quantity, bin): share of the set and of all tokens there, their ratio and its interval.

    quantity: "probability" exp(log π) in fixed bins, or "entropy" (nats) in deciles; rows where it is not
    recorded are left out. low, high: edges of the bin, the upper one inside; see `enrichment` for the ratio.
    """
    w = np.ones(len(frame)) if weights is None else weights
    prompts = frame["prompt"].to_numpy()
    rows = []
    for quantity, values, edges in _quantities(frame, weights):
        number = np.searchsorted(edges[1:-1], values, side="left")
        known = np.isfinite(values)
        for name, mask in sets.items():
            inside = mask & known
            if not inside.any():
                continue
            for i, (low, high) in enumerate(pairwise(edges)):
                here = known & (number == i)
                if here.any():
                    found = enrichment(here[known], inside[known], prompts[known], level, w[known])
                    place = {"set": name, "quantity": quantity, "bin_low": low, "bin_high": high}
                    rows.append(place | found)
    return bin_frame(rows)


def bin_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """`bin_table` from its rows."""
    columns = ["set", "quantity", "bin_low", "bin_high", "count", "share", "share_all", "enrichment"]
    return pd.DataFrame(rows, columns=[*columns, "low", "high", "p"])


def decile_places(n: int) -> NDArray[np.int64]:
    """Places in n ascending values, from 0, of the edges of the entropy's bins: the inverted distribution."""
    return np.ceil(np.maximum(_DECILES * n - 1, 0)).astype(np.int64)


def _quantities(frame: pd.DataFrame, weights: Floats | None) -> list[tuple[str, Floats, Floats]]:
    """(name, values [n], edges of its bins) of what is recorded."""
    probability = np.exp(frame["logprob"].to_numpy(np.float64))
    found = [("probability", probability, np.array(PROBABILITIES))]
    entropy = frame["entropy"].to_numpy(np.float64)
    known = np.isfinite(entropy)
    if known.any():
        held = None if weights is None else weights[known]
        edges = np.unique(np.quantile(entropy[known], _DECILES, weights=held, method="inverted_cdf"))
        if len(edges) > 1:
            found.append(("entropy", entropy, edges))
    return found


def prompt_table(
    frame: pd.DataFrame, sets: Mapping[str, Mask], weights: Floats | None = None
) -> pd.DataFrame:
    """One row a prompt of a step, most of the first set first: step, prompt_id, tokens, those of each set."""
    w = np.ones(len(frame)) if weights is None else weights
    codes = frame["prompt"].to_numpy()
    first = np.unique(codes, return_index=True)[1]
    table = pd.DataFrame(
        {
            "step": frame["step"].to_numpy()[first],
            "prompt_id": frame["prompt_id"].to_numpy()[first],
            "tokens": np.rint(np.bincount(codes, w)).astype(np.int64),
            **{
                name: np.rint(np.bincount(codes[mask], w[mask], minlength=len(first))).astype(np.int64)
                for name, mask in sets.items()
            },
        }
    )
    return ranked_prompts(table, list(sets))


def ranked_prompts(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Most of the first set first, then of the next; ties as they come."""
    return table.sort_values(list(names), ascending=False, kind="stable", ignore_index=True)


def top_prompts_share(table: pd.DataFrame, name: str, fraction: float = 0.1) -> float:
    """Share of a set that the ``fraction`` of the prompts with most of it hold; NaN where it is empty."""
    return share_of_most(table[name].to_numpy(np.float64), fraction)
