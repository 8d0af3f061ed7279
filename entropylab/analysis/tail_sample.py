"""The tokens of one tail analysis, checked: equal lengths, finite, not constant, with known clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InsufficientDataError, InvalidInputError
from .cluster_bootstrap import Clusters, Floats, make_clusters
from .concentration import whole_size

MIN_TOKENS = 20
"""Fewer tokens than this have no tail."""


@dataclass(frozen=True)
class TailSample:
    """Covariance [n]; log-probability and advantage [n] less their means, or None; clusters; warnings.

    `weights` [n]: how many tokens each row stands for; None: one each. `samples` [n]: the response of each.
    """

    covariance: Floats
    logprobs: Floats | None
    advantages: Floats | None
    clusters: Clusters
    warnings: tuple[str, ...]
    weights: Floats | None = None
    samples: NDArray[Any] | None = None

    @property
    def size(self) -> int:
        """The tokens that the rows stand for."""
        return len(self.covariance) if self.weights is None else whole_size(self.weights.sum())

    @property
    def has_margins(self) -> bool:
        """Whether the margins are known, so that independence can be judged."""
        return self.logprobs is not None and self.advantages is not None


def tail_sample(
    covariance: ArrayLike,
    logprobs: ArrayLike | None,
    advantages: ArrayLike | None,
    prompt_ids: ArrayLike | None,
    sample_ids: ArrayLike | None,
    weights: ArrayLike | None = None,
) -> TailSample:
    """Check and centre the arrays of `analyze_tails`; every error names the array and the value."""
    values = _values("covariance", covariance)
    n = len(values)
    if n < MIN_TOKENS:
        raise InsufficientDataError(f"covariance holds {n} tokens; a tail needs at least {MIN_TOKENS}")
    if values.min() == values.max():
        raise InsufficientDataError(
            f"covariance is {values[0]:g} for all {n} tokens: there is no tail to analyse"
        )
    w = _weights(weights, n)
    samples = _ids("sample_ids", sample_ids, n)
    clusters = make_clusters(n, _ids("prompt_ids", prompt_ids, n), samples, w)
    l, a = _centred("logprobs", logprobs, n, w), _centred("advantages", advantages, n, w)
    warnings = (*_cluster_warnings(clusters), *_margin_warnings(values, l, a))
    return TailSample(values, l, a, clusters, warnings, w, samples)


def _weights(array: ArrayLike | None, n: int) -> Floats | None:
    """The weights, None where all are 1."""
    if array is None:
        return None
    values = _values("weights", array, n)
    if values.min() <= 0:
        raise InvalidInputError(
            f"weights must be above 0 (1 / the probability of inclusion), found {values.min()}"
        )
    return None if (values == 1).all() else values


def _values(name: str, array: ArrayLike, n: int | None = None) -> Floats:
    values = np.asarray(array)
    if values.dtype.kind not in "fiu":
        raise InvalidInputError(f"{name} must hold numbers, not {values.dtype}")
    if values.ndim != 1:
        raise InvalidInputError(
            f"{name} has shape {values.shape}; give one value a token, e.g. {name}[mask], of shape [n]"
        )
    if n is not None and len(values) != n:
        raise InvalidInputError(f"{name} holds {len(values)} values, covariance {n}; give one a token")
    values = values.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise InvalidInputError(
            f"{name}[{bad[0]}] is {values[bad[0]]} ({bad.size} of {len(values)} are not finite); "
            "drop the tokens outside the mask first"
        )
    return values


def _centred(name: str, array: ArrayLike | None, n: int, weights: Floats | None) -> Floats | None:
    if array is None:
        return None
    values = _values(name, array, n)
    return values - (values.mean() if weights is None else np.average(values, weights=weights))


def _ids(name: str, array: ArrayLike | None, n: int) -> NDArray[Any] | None:
    if array is None:
        return None
    ids = np.asarray(array)
    if ids.shape != (n,):
        raise InvalidInputError(f"{name} has shape {ids.shape}, covariance ({n},); give one id a token")
    if ids.dtype.kind == "f" and not np.isfinite(ids).all():
        raise InvalidInputError(f"{name} holds ids that are not finite; give each token the id of its group")
    return ids


def _cluster_warnings(clusters: Clusters) -> list[str]:
    if clusters.kind == "response":
        return [
            "prompts are unknown, so intervals draw responses: too narrow where those of a prompt are alike"
        ]
    if clusters.kind == "token":
        return [
            "neither prompts nor responses are known, so there are no intervals: tokens are not independent"
        ]
    return []


def _margin_warnings(covariance: Floats, logprobs: Floats | None, advantages: Floats | None) -> Sequence[str]:
    if logprobs is None or advantages is None:
        return []
    gap = float(np.abs(covariance - logprobs * advantages).max())
    if gap <= 1e-3 * float(np.abs(covariance).max()):
        return []
    return [
        "the covariance is not the centred product of the logprobs and advantages given "
        f"(off by up to {gap:.3g}): other log-probabilities, or several token sets with means of their own"
    ]
