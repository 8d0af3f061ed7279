"""QAE: a quantile of the group's rewards in place of their mean (arXiv 2509.22611)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from ..setting_checks import require_choice, require_fraction


@dataclass(frozen=True)
class QuantileBaseline:
    """A = (R - Q_K) / (std + 1e-6), Q_K = inf{x : F(x) ≥ quantile} over the rewards of the same prompt.

    It makes advantages from rewards; it is no control of the loss and is not given to ``policy_loss``. With
    rewards 0 and 1 and a share p of successes, Q_K is 0 where p ≤ 1 - K (only successes move) and 1 elsewhere
    (only failures move): the two regimes of the abstract, which the left-continuous quantile gives exactly.
    ``quantile=0.4`` is the value the method is known for; no released code was found to confirm it.
    ``scale``: ``std`` divides by the group's standard deviation (n - 1), as the GRPO of common trainers does,
    and gives 0 where all rewards of a group agree; ``none`` does not divide.
    """

    quantile: float = 0.4
    scale: str = "std"

    def __post_init__(self) -> None:
        require_fraction("QuantileBaseline", self.quantile, name="quantile")
        require_choice("QuantileBaseline", "scale", self.scale, ("std", "none"))

    def advantages(self, rewards: Any, prompt_ids: Any) -> NDArray[np.float64]:
        """Advantages [B] from rewards [B] and integer prompt ids [B] (arrays, or tensors of the CPU).

        Raises:
            InvalidInputError: shapes that do not fit, or a reward that is not finite.
        """
        rewards, prompt_ids = np.asarray(rewards, dtype=np.float64), np.asarray(prompt_ids)
        if rewards.ndim != 1 or rewards.shape != prompt_ids.shape:
            raise InvalidInputError(
                f"rewards has shape {list(rewards.shape)}, prompt_ids {list(prompt_ids.shape)}; give [B] each"
            )
        if not np.isfinite(rewards).all():
            place = int(np.flatnonzero(~np.isfinite(rewards))[0])
            raise InvalidInputError(f"rewards[{place}] is {rewards[place]}; give finite rewards")
        out = np.empty_like(rewards)
        for prompt in np.unique(prompt_ids):
            group = prompt_ids == prompt
            out[group] = self._of_group(rewards[group])
        return out

    def _of_group(self, rewards: NDArray[np.float64]) -> NDArray[np.float64]:
        above = rewards - np.quantile(rewards, self.quantile, method="inverted_cdf")
        if self.scale == "none":
            return above
        spread = rewards.std(ddof=1) if len(rewards) > 1 else 0.0
        return above / (spread + 1e-6)
