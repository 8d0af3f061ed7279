"""Clip-Cov: tokens of high covariance leave the policy gradient (arXiv 2505.22617, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InvalidInputError
from ..numpy_selection import first_by_hash, first_by_key
from ..setting_checks import require_choice, require_count, require_fraction, require_number
from ..token_budget import TokenBudget
from .dropping import ACTIONS, drop_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..batch import TokenBatch
    from ..interfaces import Chosen, Terms
    from ..ranking import RankInputs


@dataclass(frozen=True)
class ClipCov:
    """Drop the gradient of k = max(minimum, ⌊fraction · N⌋) tokens of high covariance (eq. 11-12).

    ``select="band"``: drawn by a hash of (seed, step, sample_id, position) among the tokens that the
    surrogate does not clip and with low < cov < high; fewer than k where the band holds fewer.
    ``select="top"``: the k tokens of the highest covariance; ``low`` and ``high`` play no part.
    ``action="zero"`` removes value and gradient, ``"detach"`` the gradient alone; either way the token stays
    in the denominator. ``covariance_on``: logprobs of the ``current`` or of the ``old`` policy.
    """

    fraction: float = 2e-4
    select: str = "band"
    low: float = 1.0
    high: float = 5.0
    action: str = "zero"
    covariance_on: str = "current"
    minimum: int = 1

    def __post_init__(self) -> None:
        require_fraction("ClipCov", self.fraction)
        require_choice("ClipCov", "select", self.select, ("band", "top"))
        require_choice("ClipCov", "action", self.action, ACTIONS)
        require_choice("ClipCov", "covariance_on", self.covariance_on, ("current", "old"))
        require_count("ClipCov", "minimum", self.minimum, least=0)
        require_number("ClipCov", "low", self.low)
        require_number("ClipCov", "high", self.high)
        if self.low >= self.high:
            raise InvalidInputError(f"ClipCov: low={self.low!r} is not below high={self.high!r}")

    @classmethod
    def paper(cls) -> ClipCov:
        """The authors' form: a random draw of 0.02 % from the band (1, 5), value and gradient zero."""
        return cls(fraction=2e-4, select="band", low=1.0, high=5.0, action="zero")

    @classmethod
    def top(cls, fraction: float = 1e-3) -> ClipCov:
        """The deterministic form: the highest covariances, detached."""
        return cls(fraction=fraction, select="top", action="detach")

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        return ()

    @property
    def budget(self) -> TokenBudget:
        """How many tokens it chooses."""
        return TokenBudget(self.fraction, minimum=self.minimum)

    def key(self, tokens: RankInputs) -> Tensor:
        """What tokens are chosen by, the highest first; -inf where a token may not be chosen."""
        if self.select == "top":
            return tokens.covariance
        eligible = tokens.unclipped(self.low, self.high)
        return tokens.hash_key(eligible)

    def choose_numpy(
        self, covariance: Any, sample_ids: Any, positions: Any, clipped: Any = None, *, seed: int, step: int
    ) -> NDArray[np.bool_]:
        """The choice by that key from arrays [n], one entry a valid token."""
        covariance = np.asarray(covariance)
        count = self.budget.of(len(covariance))
        if self.select == "top":
            everyone = np.ones(len(covariance), dtype=bool)
            return first_by_key(covariance, everyone, count, sample_ids, positions)
        eligible = (covariance > self.low) & (covariance < self.high)
        if clipped is not None:
            eligible &= ~np.asarray(clipped, dtype=bool)
        return first_by_hash(eligible, count, sample_ids, positions, seed=seed, step=step)

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None) -> Terms:
        """The loss without the chosen tokens' gradient."""
        assert chosen is not None
        return drop_tokens(terms, chosen.mask, self.action)
