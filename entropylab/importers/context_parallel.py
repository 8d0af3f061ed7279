"""Context-parallel slices put together again: a rank holds a front and the mirrored back chunk of a sequence.

With C ranks a sequence of n tokens is cut into 2C chunks of ceil(n / 2C) tokens; rank r holds the chunks r
and 2C - 1 - r (radixark/miles, miles/backends/training_utils/cp_utils.py). Values are of logits, so that the
value of a token lies one position before it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .faults import RecordError


def slice_spans(
    rank: int, ranks: int, total: int, response: int, padded: int | None
) -> list[tuple[int, int]]:
    """The spans [start, stop) of the response that a rank holds, in the order of its slice.

    total: tokens of prompt and response; padded: length that the chunks are cut from, None for total.
    """
    size = -(-(total if padded is None else padded) // (2 * ranks))
    prompt = total - response
    spans = []
    for chunk in (rank, 2 * ranks - 1 - rank):
        start, stop = max(chunk * size, prompt - 1), min((chunk + 1) * size, total - 1)
        spans.append((start - prompt + 1, max(start, stop) - prompt + 1))
    return spans


def join_slices(
    slices: Mapping[int, np.ndarray], ranks: int, total: int, response: int, padded: int | None = None
) -> np.ndarray:
    """The values [response] of the whole response from every rank's slice.

    Raises `RecordError` where a slice is missing or of the wrong length.
    """
    missing = sorted(set(range(ranks)) - set(slices))
    if missing:
        raise RecordError(f"the slices of the context-parallel ranks {missing} of {ranks} are missing")
    whole = np.full(response, np.nan)
    for rank, values in slices.items():
        spans = slice_spans(rank, ranks, total, response, padded)
        expected = sum(stop - start for start, stop in spans)
        if len(values) != expected:
            raise RecordError(
                f"context-parallel rank {rank} holds {len(values)} values, its part is {expected}"
            )
        taken = 0
        for start, stop in spans:
            whole[start:stop] = values[taken : taken + stop - start]
            taken += stop - start
    return whole
