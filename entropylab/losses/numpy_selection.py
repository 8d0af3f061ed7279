"""The NumPy twin of the ranking kernels in ``selection``: the same tokens, ties and hash included."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .hashing import token_hash


def first_by_key(key: Any, eligible: Any, count: int, sample_ids: Any, positions: Any) -> NDArray[np.bool_]:
    """The ``count`` eligible tokens of the highest ``key``; equal keys go by (sample_id, position) ascending.

    All arrays have shape [n], one entry a token.
    """
    key, chosen = np.asarray(key), np.zeros(len(key), dtype=bool)
    pool = np.flatnonzero(np.asarray(eligible, dtype=bool))
    count = min(count, len(pool))
    if count <= 0:
        return chosen
    values = key[pool]
    threshold = np.partition(values, len(values) - count)[len(values) - count]
    above, level = pool[values > threshold], pool[values == threshold]
    order = np.lexsort((np.asarray(positions)[level], np.asarray(sample_ids)[level]))
    chosen[above] = True
    chosen[level[order[: count - len(above)]]] = True
    return chosen


def first_by_hash(
    eligible: Any, count: int, sample_ids: Any, positions: Any, *, seed: int, step: int
) -> NDArray[np.bool_]:
    """The ``count`` eligible tokens of the smallest hash of (seed, step, sample_id, position)."""
    key = -token_hash(sample_ids, positions, seed=seed, step=step)
    return first_by_key(key, eligible, count, sample_ids, positions)
