"""Forking tokens: only the tokens of high entropy learn (arXiv 2506.01939)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..setting_checks import require_fraction, require_number
from ..token_budget import TokenBudget
from .dropping import drop_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from ..batch import TokenBatch
    from ..interfaces import Chosen, Terms


@dataclass(frozen=True)
class ForkingTokens:
    """Loss times 1[H ≥ τ]: the k = max(1, ⌊fraction · N⌋) tokens of the highest entropy keep their gradient.

    Needs ``entropy`` [B, T], nats, of the current policy; its gradient plays no part. Of equal entropies
    those go first that come first by (sample_id, position). ``threshold``: τ in nats, where the k tokens are
    those of a larger set (give its k-th highest entropy when a batch comes in pieces); ``fraction`` then
    plays no part. The other tokens stay in the denominator, as in TRL's ``top_entropy_quantile``; a
    reimplementation on verl divides by k instead, which only scales the loss (by 1/fraction).
    """

    fraction: float = 0.2
    threshold: float | None = None

    def __post_init__(self) -> None:
        require_fraction("ForkingTokens", self.fraction)
        if self.threshold is not None:
            require_number("ForkingTokens", "threshold", self.threshold)

    @property
    def scope(self) -> str:
        """What the change of a token's loss depends on."""
        return "batch" if self.threshold is None else "token"

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        return ("entropy",)

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None = None) -> Terms:
        """The loss of the forking tokens alone."""
        forks = self._forks(batch)
        return drop_tokens(terms, batch.inside - forks, "zero")

    def _forks(self, batch: TokenBatch) -> Tensor:
        """0/1 [B, T]."""
        from ..masking import keep
        from ..selection import top_by_score

        assert batch.entropy is not None
        entropy = keep(batch.entropy.detach(), batch.inside)
        if self.threshold is not None:
            return batch.inside * (entropy >= self.threshold)
        budget = TokenBudget(self.fraction)
        count, limit = budget.of_tensor(batch.count), budget.of(entropy.numel())
        return top_by_score(entropy, batch.inside, count, limit, batch.sample_ids)
