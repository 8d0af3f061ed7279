"""Settings of Clip-Cov and KL-Cov that choose a wished number of tokens, from logged covariances.

Free of torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .controls.clip_cov import ClipCov
from .controls.kl_cov import KLCov
from .setting_checks import require_count, require_number

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Suggestion:
    """Settings for a wished number of chosen tokens a batch, and what they would have done to the log."""

    wished: int
    """Tokens to choose a batch."""
    fraction: float
    """What chooses them in a batch of the median size."""
    low: float
    """Lower bound of the band; the band is open above (``high`` is twice the largest covariance)."""
    high: float
    tokens: tuple[int, int, int]
    """Tokens a batch: least, median, most."""
    candidates: tuple[int, int, int]
    """Tokens a batch within the band: least, median, most."""
    chosen: tuple[int, int, int]
    """Tokens that the band would have chosen a batch: least, median, most."""
    notes: tuple[str, ...]

    @property
    def clip_cov(self) -> ClipCov:
        """The band form."""
        return ClipCov(fraction=self.fraction, low=self.low, high=self.high)

    @property
    def clip_cov_top(self) -> ClipCov:
        """The form that takes the highest covariances."""
        return ClipCov.top(fraction=self.fraction)

    @property
    def kl_cov(self) -> KLCov:
        """KL-Cov with the authors' strength."""
        return KLCov(fraction=self.fraction)


def suggest_settings(
    covariance: Any,
    wished: int,
    *,
    batch: Any = None,
    clipped: Any = None,
    sampling_weight: Any = None,
    pool: float = 10.0,
) -> Suggestion:
    """Fraction and bounds that choose ``wished`` tokens a batch, judged on logged tokens.

    The fraction is (wished + 1/2) / N for the median batch size N. The band's lower bound is the value above
    which the median batch holds ``pool`` · ``wished`` tokens that the ratio clip leaves, so that the random
    draw has a choice.

    Args:
        covariance: [n], as the loss used it: the ``covariance`` column of a run's token rows.
        wished: tokens to choose a batch, at least 1.
        batch: integers [n], the batch of each token (the pair of step and update, numbered); None: one batch.
        clipped: bool [n], tokens that the ratio clip took out; None: none.
        sampling_weight: [n], 1 / inclusion probability where the log holds a sample of the tokens.
        pool: candidates for each wished token, at least 1.

    Raises:
        InvalidInputError: arrays that are empty, of unequal length or not finite, and a wish that the median
            batch cannot meet.
    """
    require_count("suggest_settings", "wished", wished, least=1)
    require_number("suggest_settings", "pool", pool, least=1.0)
    values, numbers, free, weights = _columns(covariance, batch, clipped, sampling_weight)
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order], prepend=numbers[order[0]] - 1))
    sizes = np.add.reduceat(weights[order], starts)
    median = float(np.median(sizes))
    if wished + 0.5 >= median:
        raise InvalidInputError(
            f"suggest_settings: wished={wished} of the {median:.0f} tokens of the median batch; wish fewer"
        )
    fraction = (wished + 0.5) / median
    pieces = [(values[rows], free[rows] * weights[rows]) for rows in np.split(order, starts[1:])]
    low = float(np.median([_lower_bound(cov, mass, pool * wished) for cov, mass in pieces]))
    high = max(2.0 * float(values.max()), low + 1.0)
    candidates = np.array([mass[cov > low].sum() for cov, mass in pieces])
    chosen = np.minimum(np.maximum(1.0, np.floor(fraction * sizes)), candidates)
    return Suggestion(
        wished=wished,
        fraction=fraction,
        low=low,
        high=high,
        tokens=_spread(sizes),
        candidates=_spread(candidates),
        chosen=_spread(chosen),
        notes=_notes(wished, low, values, sizes, chosen),
    )


def _columns(
    covariance: Any, batch: Any, clipped: Any, sampling_weight: Any
) -> tuple[Floats, NDArray[np.int64], Floats, Floats]:
    """Covariance, batch numbers, 1 where not clipped, and weights, [n] each."""
    values = np.asarray(covariance, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise InvalidInputError(f"covariance has shape {list(values.shape)}; give [n] with n of at least 1")
    n = len(values)
    numbers = np.zeros(n, dtype=np.int64) if batch is None else np.asarray(batch)
    free = np.ones(n) if clipped is None else 1.0 - np.asarray(clipped, dtype=bool)
    weights = np.ones(n) if sampling_weight is None else np.asarray(sampling_weight, dtype=np.float64)
    for name, column in (("batch", numbers), ("clipped", free), ("sampling_weight", weights)):
        if column.shape != (n,):
            raise InvalidInputError(f"{name} has shape {list(column.shape)}; covariance has [{n}]")
    for name, column in (("covariance", values), ("sampling_weight", weights)):
        if not np.isfinite(column).all():
            place = int(np.flatnonzero(~np.isfinite(column))[0])
            raise InvalidInputError(f"{name}[{place}] is {column[place]}; leave such tokens out")
    if not np.issubdtype(numbers.dtype, np.integer):
        raise InvalidInputError(f"batch has dtype {numbers.dtype}; give integers")
    if (weights <= 0).any():
        raise InvalidInputError(f"sampling_weight holds {weights.min():g}; weights are positive")
    return values, numbers.astype(np.int64), free, weights


def _lower_bound(covariance: Floats, mass: Floats, wanted: float) -> float:
    """The value above which a batch holds ``wanted`` tokens; below all of them where it holds fewer."""
    order = np.argsort(-covariance, kind="stable")
    held = np.cumsum(mass[order])
    place = int(np.searchsorted(held, wanted - 1e-9))
    if place >= len(order) - 1:
        return math.nextafter(float(covariance.min()), -math.inf)
    return 0.5 * float(covariance[order[place]] + covariance[order[place + 1]])


def _spread(values: Floats) -> tuple[int, int, int]:
    return tuple(round(float(x)) for x in (values.min(), np.median(values), values.max()))  # type: ignore[return-value]


def _notes(wished: int, low: float, values: Floats, sizes: Floats, chosen: Floats) -> tuple[str, ...]:
    notes = []
    if low <= 0.0:
        notes.append(
            f"the band reaches down to {low:.3g}: so many tokens are only found where the covariance is not "
            "positive; wish for fewer, or give a smaller pool"
        )
    if not (values > 0).any():
        notes.append("no covariance is positive: were the advantages of each batch constant?")
    if sizes.max() > 2 * sizes.min():
        notes.append(
            f"batches hold {sizes.min():.0f} to {sizes.max():.0f} tokens: a fraction chooses unequal numbers"
        )
    short = int((chosen < max(1, wished // 2)).sum())
    if short:
        notes.append(f"{short} of {len(sizes)} batches would give less than half of the wish")
    return tuple(notes)
