"""Which token rows are stored; the summaries are exact over all tokens in any case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InvalidInputError
from .arrays import whole_number

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 over unsigned 64-bit integers (wraps around)."""
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class TokenSampling:
    """Token rows of every ``every_steps``-th step, of a hashed fraction of the responses.

    A response is kept where hash(seed, step, sample_id) < response_fraction: whole responses, the same
    on every rank and in every update of a step. Kept rows carry sampling_weight = 1 / response_fraction.
    """

    every_steps: int = 1
    response_fraction: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        whole_number(self.every_steps, "every_steps", 1, 2**31 - 1)
        whole_number(self.seed, "seed", -(2**63), 2**63 - 1)
        fraction = self.response_fraction
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0.0 < fraction <= 1.0:
            raise InvalidInputError(f"response_fraction must be in (0, 1], got {fraction!r}")

    @property
    def weight(self) -> float | None:
        """The sampling weight of a kept row, None where every response is kept."""
        return None if self.response_fraction == 1.0 else 1.0 / self.response_fraction

    def stores(self, step: int) -> bool:
        """Whether this step has token rows at all."""
        return step % self.every_steps == 0

    def keep(self, step: int, sample_ids: np.ndarray) -> np.ndarray:
        """Which of the responses are kept, bool of the shape of ``sample_ids`` (int64)."""
        if self.response_fraction == 1.0:
            return np.ones(sample_ids.shape, dtype=bool)
        with np.errstate(over="ignore"):
            state = _mix(np.array([self.seed, step], dtype=np.int64).astype(np.uint64) + _GAMMA)
            key = _mix(sample_ids.astype(np.int64).astype(np.uint64) ^ state[0] ^ (state[1] << np.uint64(1)))
        return (key >> np.uint64(11)).astype(np.float64) * 2.0**-53 < self.response_fraction
