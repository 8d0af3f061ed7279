"""The points of a curve: checked, in the order of their steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InsufficientDataError, InvalidInputError

MIN_POINTS = 3
MAX_ENTROPY = 30.0
"""Nats a token; a vocabulary of V tokens allows ln V, so that 30 is above any."""


@dataclass(frozen=True)
class Points:
    """m points in the order of their steps: entropy [m] nats, performance [m], steps [m]; read-only.

    n_problems: problems behind each performance, one number or [m], None where unknown.
    """

    entropy: np.ndarray
    performance: np.ndarray
    steps: np.ndarray
    n_problems: np.ndarray | None

    def __len__(self) -> int:
        return len(self.steps)

    def binomial_sd(self) -> float | None:
        """Root mean square of sqrt(R (1 - R)/N): the sampling error of an accuracy over N problems."""
        if self.n_problems is None:
            return None
        return float(np.sqrt(np.mean(self.performance * (1 - self.performance) / self.n_problems)))


def check_points(
    entropy: ArrayLike,
    performance: ArrayLike,
    *,
    steps: ArrayLike | None = None,
    n_problems: ArrayLike | None = None,
) -> Points:
    """The points, sorted by step (without steps: in the order given, one step apart).

    Raises InvalidInputError for unequal lengths, non-finite values and impossible entropies, and
    InsufficientDataError for fewer than 3 points, constant entropy or a single step.
    """
    h, r = finite_vector("entropy", entropy), finite_vector("performance", performance)
    t = np.arange(len(h), dtype=float) if steps is None else finite_vector("steps", steps)
    _same_length(entropy=h, performance=r, steps=t)
    if len(h) < MIN_POINTS:
        raise InsufficientDataError(
            f"a line needs at least {MIN_POINTS} points, {len(h)} given: log more steps with an evaluation"
        )
    _check_entropy(h)
    if np.ptp(t) == 0:
        raise InsufficientDataError(f"all {len(t)} points are of step {t[0]:g}: give points of several steps")
    n = None if n_problems is None else _problems(n_problems, r)
    order = np.lexsort((r, h, t))
    return Points(
        entropy=_frozen(h[order]),
        performance=_frozen(r[order]),
        steps=_frozen(t[order]),
        n_problems=None if n is None else _frozen(n[order]),
    )


def finite_vector(name: str, values: ArrayLike) -> np.ndarray:
    """`values` as a float vector; InvalidInputError names the first value that is not finite."""
    try:
        vector = np.array(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name} must be numbers: {error}") from None
    if vector.ndim != 1:
        raise InvalidInputError(f"{name} must be a vector, one value a step; its shape is {vector.shape}")
    bad = np.flatnonzero(~np.isfinite(vector))
    if len(bad):
        raise InvalidInputError(
            f"{name}[{bad[0]}] is {vector[bad[0]]} ({len(bad)} of {len(vector)} values are not finite): "
            "drop those steps"
        )
    return vector


def _same_length(**vectors: np.ndarray) -> None:
    if len({len(vector) for vector in vectors.values()}) > 1:
        sizes = ", ".join(f"{name} {len(vector)}" for name, vector in vectors.items())
        raise InvalidInputError(f"lengths differ: {sizes}; give one value of each a step")


def _check_entropy(entropy: np.ndarray) -> None:
    worst = int(np.argmax(entropy))
    if entropy[worst] > MAX_ENTROPY:
        raise InvalidInputError(
            f"entropy[{worst}] is {entropy[worst]:g}, more than any vocabulary allows: "
            "give the mean entropy of a token, in nats"
        )
    if np.ptp(np.exp(entropy)) <= 1e-12 * np.exp(entropy[worst]):
        raise InsufficientDataError(
            f"entropy is constant ({entropy[0]:g} nats): a line in exp(H) needs entropies that differ"
        )


def _problems(n_problems: ArrayLike, performance: np.ndarray) -> np.ndarray:
    n = finite_vector("n_problems", np.atleast_1d(np.asarray(n_problems, dtype=float)))
    n = np.broadcast_to(n, performance.shape) if len(n) == 1 else n
    _same_length(performance=performance, n_problems=n)
    if n.min() < 1:
        raise InvalidInputError(f"n_problems must be at least 1, the smallest is {n.min():g}")
    if performance.min() < 0 or performance.max() > 1:
        raise InvalidInputError(
            f"with n_problems, performance is an accuracy in [0, 1]; it ranges from {performance.min():g} to "
            f"{performance.max():g}: divide percentages by 100 or leave n_problems out"
        )
    return n


def _frozen(column: np.ndarray) -> np.ndarray:
    column.setflags(write=False)
    return column
