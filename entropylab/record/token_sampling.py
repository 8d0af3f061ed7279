"""Which token rows are stored; the summaries are exact over all tokens in any case."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

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
    """Token rows of every ``every_steps``-th step, of a hashed share of the responses and of the tokens.

    A response is drawn where hash(seed, step, sample_id) < response_fraction, a token of it where
    hash(seed, step, sample_id, position) < token_fraction: the same on every rank and in every update of a
    step. ``keep_selected``: tokens that the control selected are kept in any case; ``tail_fraction``: so are
    the ceil(tail_fraction · n) tokens of highest covariance of the rank's update, and as many of the lowest.
    Every row carries its sampling_weight, 1 / its probability of inclusion: 1 where it is certain, and null
    where nothing is left out.
    """

    every_steps: int = 1
    response_fraction: float = 1.0
    seed: int = 0
    token_fraction: float = 1.0
    tail_fraction: float = 0.0
    keep_selected: bool = False

    def __post_init__(self) -> None:
        whole_number(self.every_steps, "every_steps", 1, 2**31 - 1)
        whole_number(self.seed, "seed", -(2**63), 2**63 - 1)
        for name in ("response_fraction", "token_fraction"):
            if not _is_number(value := getattr(self, name)) or not 0.0 < value <= 1.0:
                raise InvalidInputError(f"{name} must be in (0, 1], got {value!r}")
        if not _is_number(self.tail_fraction) or not 0.0 <= self.tail_fraction <= 0.5:
            raise InvalidInputError(f"tail_fraction must be in [0, 0.5], got {self.tail_fraction!r}")
        if not isinstance(self.keep_selected, bool):
            raise InvalidInputError(f"keep_selected must be True or False, got {self.keep_selected!r}")

    @classmethod
    def uniform(cls, share: float, *, every_steps: int = 1, seed: int = 0) -> TokenSampling:
        """A uniform share of the tokens, each drawn by itself."""
        return cls(every_steps=every_steps, seed=seed, token_fraction=share)

    @classmethod
    def tail_and_share(
        cls, share: float, *, tail_fraction: float = 0.02, every_steps: int = 1, seed: int = 0
    ) -> TokenSampling:
        """Both tails of the covariance and the selected tokens in full, a uniform share of the rest."""
        return cls(
            every_steps=every_steps,
            seed=seed,
            token_fraction=share,
            tail_fraction=tail_fraction,
            keep_selected=True,
        )

    @property
    def probability(self) -> float:
        """The probability of inclusion of a token that is not certain."""
        return self.response_fraction * self.token_fraction

    @property
    def weight(self) -> float | None:
        """The sampling weight of a drawn row, None where every token is kept."""
        return None if self.probability == 1.0 else 1.0 / self.probability

    def to_dict(self) -> dict[str, Any]:
        """The settings, for `_run.json`."""
        return asdict(self)

    def stores(self, step: int) -> bool:
        """Whether this step has token rows at all."""
        return step % self.every_steps == 0

    def keep(self, step: int, sample_ids: np.ndarray) -> np.ndarray:
        """Which of the responses are drawn, bool of the shape of ``sample_ids`` (int64)."""
        if self.response_fraction == 1.0:
            return np.ones(sample_ids.shape, dtype=bool)
        return _uniform(self._key(step, sample_ids)) < self.response_fraction

    def draw(
        self, step: int, sample_ids: np.ndarray, response: np.ndarray, position: np.ndarray
    ) -> np.ndarray:
        """Which tokens are drawn, bool [N], from the responses' ids [R] and each token's row in them."""
        drawn = self.keep(step, sample_ids)[response]
        if self.token_fraction == 1.0:
            return drawn
        with np.errstate(over="ignore"):
            place = (position.astype(np.int64).astype(np.uint64) + np.uint64(1)) * _GAMMA
            key = _mix(self._key(step, sample_ids)[response] + place)
        return drawn & (_uniform(key) < self.token_fraction)

    def _key(self, step: int, sample_ids: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            state = _mix(np.array([self.seed, step], dtype=np.int64).astype(np.uint64) + _GAMMA)
            ids = sample_ids.astype(np.int64).astype(np.uint64)
            return _mix(ids ^ state[0] ^ (state[1] << np.uint64(1)))


def _uniform(key: np.ndarray) -> np.ndarray:
    """Unsigned 64-bit hashes as float64 in [0, 1)."""
    return (key >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def tail_mask(covariance: np.ndarray, k: int) -> np.ndarray:
    """The k highest and the k lowest values, bool [N]; values that are not finite too."""
    found = ~np.isfinite(covariance)
    finite = np.flatnonzero(~found)
    k = min(k, finite.size)
    if k:
        order = np.argpartition(covariance[finite], sorted({k - 1, finite.size - k}))
        found[finite[order[:k]]] = found[finite[order[finite.size - k :]]] = True
    return found
