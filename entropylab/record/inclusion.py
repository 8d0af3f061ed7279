"""Which tokens of a step become rows, and the weight of each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from .pieces import Piece
from .summary import top_count
from .token_sampling import TokenSampling, tail_mask


def inclusion(
    step: int, pieces: Sequence[Piece], sampling: TokenSampling
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """For each piece (which tokens are kept, bool [N]; sampling weights of those, None where all are kept).

    The weight is 1 for a token that is kept in any case and 1 / probability for one that was drawn, so that
    weighted sums are unbiased. Pieces come by update.
    """
    found: list[tuple[np.ndarray, np.ndarray | None]] = []
    for _, group in groupby(pieces, lambda p: p.update):
        update = list(group)
        for piece, certain in zip(update, _certain(update, sampling), strict=True):
            found.append(_draw(step, piece, certain, sampling))
    return found


def _draw(
    step: int, piece: Piece, certain: np.ndarray, sampling: TokenSampling
) -> tuple[np.ndarray, np.ndarray | None]:
    if sampling.weight is None:
        return np.ones(certain.size, dtype=bool), None
    keep = certain | sampling.draw(step, piece.sample_id, piece.tokens.response, piece.position)
    return keep, np.where(certain[keep], np.float32(1.0), np.float32(sampling.weight))


def _certain(update: Sequence[Piece], sampling: TokenSampling) -> list[np.ndarray]:
    """Tokens that are kept in any case: both tails over the update's pieces, and the selected."""
    sizes = [p.tokens.logprob.size for p in update]
    n = sum(sizes)
    certain = np.zeros(n, dtype=bool)
    if sampling.weight is not None and sampling.keep_selected:
        certain |= np.concatenate([p.tokens.selected for p in update])
    if sampling.weight is not None and sampling.tail_fraction and n:
        covariance = np.concatenate([p.tokens.covariance for p in update])
        certain |= tail_mask(covariance, top_count(sampling.tail_fraction, n))
    return np.split(certain, np.cumsum(sizes)[:-1])
