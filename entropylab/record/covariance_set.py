"""Which set of tokens the recorded covariance was centred over, found from the numbers themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .pieces import Piece

UPDATE = "update"
"""All tokens of the update, of all micro-steps and ranks."""

RANK_UPDATE = "rank_update"
"""This rank's tokens of the update."""

MICRO_STEP = "micro_step"
"""The tokens of one micro-step: smaller than the set of the method."""

OTHER = "other"
"""Centred neither over the update nor over a micro-step."""

MIXED = "mixed"
"""Different sets in different updates."""

_TOLERANCE = 1e-2
"""Largest relative deviation (root mean square) that counts as equal: twice the rounding of bf16."""

_SAME = 3.0
"""A centre with fewer degrees of freedom is preferred while its deviation is within this factor."""


def find_covariance_set(pieces: Sequence[Piece], world_size: int) -> str | None:
    """The set over which the covariances of one update are centred, on current or old logprobs.

    A common centre that is not this rank's is taken for that of all ranks. None where nothing can be told,
    as all covariances are 0.
    """
    covariance = np.concatenate([p.tokens.covariance for p in pieces]).astype(np.float64)
    if not np.any(covariance[np.isfinite(covariance)]):
        return None
    own = UPDATE if world_size == 1 else RANK_UPDATE
    found: list[tuple[float, str]] = []
    for parts in _versions(pieces):
        logprob, advantage = (np.concatenate(x) for x in zip(*parts, strict=True))
        found.append((_deviation(_product(logprob, advantage), covariance), own))
        if len(parts) > 1:
            found.append((_deviation(np.concatenate([_product(*p) for p in parts]), covariance), MICRO_STEP))
        if world_size > 1:
            found.append((_SAME * _best_deviation(logprob, advantage, covariance) + 1e-9, UPDATE))
    deviation, label = min(found, key=lambda pair: pair[0])
    return label if deviation <= _TOLERANCE else OTHER


def combine(labels: Iterable[str | None]) -> str | None:
    """One label for several updates; None where none of them tells."""
    known = {label for label in labels if label is not None}
    return None if not known else known.pop() if len(known) == 1 else MIXED


def _versions(pieces: Sequence[Piece]) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """(logprob, advantage) of each piece in float64, with current and, where recorded, with old logprobs."""
    tokens = [p.tokens for p in pieces]
    current = [(t.logprob.astype(np.float64), t.advantage.astype(np.float64)) for t in tokens]
    old = [
        (t.old_logprob.astype(np.float64), a)
        for t, (_, a) in zip(tokens, current, strict=True)
        if t.old_logprob is not None
    ]
    return [current, old] if len(old) == len(current) else [current]


def _product(logprob: np.ndarray, advantage: np.ndarray) -> np.ndarray:
    if logprob.size == 0:
        return logprob
    with np.errstate(invalid="ignore"):
        return (logprob - logprob.mean()) * (advantage - advantage.mean())


def _deviation(expected: np.ndarray, found: np.ndarray) -> float:
    """Root mean square of the difference over that of ``found``, infinite where nothing can be compared."""
    both = np.isfinite(expected) & np.isfinite(found)
    if not found[both].any():
        return np.inf
    return float(np.sqrt(np.mean((expected[both] - found[both]) ** 2) / np.mean(found[both] ** 2)))


def _best_deviation(logprob: np.ndarray, advantage: np.ndarray, covariance: np.ndarray) -> float:
    """Deviation from (l - L)(A - M) with the best (L, M): least squares of cov - l·A on A, l and 1."""
    finite = np.isfinite(logprob) & np.isfinite(advantage) & np.isfinite(covariance)
    l, a, c = logprob[finite], advantage[finite], covariance[finite]
    design = np.stack([a, l, np.ones_like(l)], axis=1)
    solution, *_ = np.linalg.lstsq(design, c - l * a, rcond=None)
    return _deviation(l * a + design @ solution, c)
