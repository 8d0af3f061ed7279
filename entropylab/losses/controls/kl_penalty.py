"""Global KL penalty: the traditional control, on every token."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..setting_checks import require_choice, require_number
from .divergences import FULL, SAMPLED

if TYPE_CHECKING:
    from ..batch import TokenBatch
    from ..interfaces import Chosen, Terms


@dataclass(frozen=True)
class KLPenalty:
    """L + coef · D(π ‖ π_ref) on every token, through the loss's own reduction.

    ``k1``, ``k2``, ``k3`` and ``abs_logratio`` read the sampled token and need ``ref_logprobs`` [B, T];
    ``reverse_kl`` = D(π ‖ π_ref) and ``forward_kl`` = D(π_ref ‖ π) are over the full vocabulary and need
    ``full_kl``. ``k3`` is the GRPO form (arXiv 2402.03300, eq. 4).
    """

    coef: float
    divergence: str = "k3"

    def __post_init__(self) -> None:
        require_number("KLPenalty", "coef", self.coef)
        require_choice("KLPenalty", "divergence", self.divergence, SAMPLED + FULL)

    @property
    def scope(self) -> str:
        """What the change of a token's loss depends on."""
        return "batch" if self.divergence in FULL else "token"

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        return ("full_kl",) if self.divergence in FULL else ("ref_logprobs",)

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None = None) -> Terms:
        """The loss with the penalty on each token."""
        if self.divergence in FULL:
            return self._apply_full(batch, terms)
        from ..divergence import add_divergence, reference_log_ratio

        return add_divergence(
            terms, reference_log_ratio(batch, "ref"), self.divergence, self.coef * batch.inside
        )

    def _apply_full(self, batch: TokenBatch, terms: Terms) -> Terms:
        from ..backend import torch
        from ..divergence import full_divergence

        every = batch.inside.flatten().bool()
        rows = torch.arange(every.numel(), device=every.device)
        values, bad = full_divergence(batch, rows, every, self.divergence)
        penalty = self.coef * values.view(batch.shape)
        return replace(terms, per_token=(*terms.per_token, penalty), nonfinite=(*terms.nonfinite, bad))
