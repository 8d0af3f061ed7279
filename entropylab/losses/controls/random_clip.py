"""The placebo of Clip-Cov: as many tokens, drawn without regard to their covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..numpy_selection import first_by_hash
from ..setting_checks import require_choice, require_count, require_fraction
from ..token_budget import TokenBudget
from .dropping import ACTIONS, drop_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..batch import TokenBatch
    from ..interfaces import Chosen, Terms
    from ..ranking import RankInputs


@dataclass(frozen=True)
class RandomClip:
    """Drop the gradient of k = max(minimum, ⌊fraction · N⌋) random tokens that the surrogate does not clip.

    The draw is by a hash of (seed, step, sample_id, position), as in ``ClipCov``; only the covariance plays
    no part. A difference between ``ClipCov`` and this control is due to which tokens are chosen.
    """

    fraction: float = 2e-4
    action: str = "zero"
    minimum: int = 1

    def __post_init__(self) -> None:
        require_fraction("RandomClip", self.fraction)
        require_choice("RandomClip", "action", self.action, ACTIONS)
        require_count("RandomClip", "minimum", self.minimum, least=0)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        return ()

    @property
    def covariance_on(self) -> str:
        """Logprobs of the covariance that is logged beside it."""
        return "current"

    @property
    def budget(self) -> TokenBudget:
        """How many tokens it chooses."""
        return TokenBudget(self.fraction, minimum=self.minimum)

    def key(self, tokens: RankInputs) -> Tensor:
        """What tokens are chosen by, the highest first; -inf where a token may not be chosen."""
        eligible = tokens.unclipped()
        return tokens.hash_key(eligible)

    def choose_numpy(
        self, covariance: Any, sample_ids: Any, positions: Any, clipped: Any = None, *, seed: int, step: int
    ) -> NDArray[np.bool_]:
        """The same choice from arrays [n], one entry a valid token; of the covariance only n counts."""
        n = len(np.asarray(covariance))
        eligible = np.ones(n, dtype=bool) if clipped is None else ~np.asarray(clipped, dtype=bool)
        return first_by_hash(eligible, self.budget.of(n), sample_ids, positions, seed=seed, step=step)

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None) -> Terms:
        """The loss without the chosen tokens' gradient."""
        assert chosen is not None
        return drop_tokens(terms, chosen.mask, self.action)
