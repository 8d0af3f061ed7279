"""Lp-Reg: plausible tokens of low probability are not suppressed (arXiv 2510.03222)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..setting_checks import require_fraction, require_number

if TYPE_CHECKING:
    from torch import Tensor

    from ..batch import TokenBatch
    from ..interfaces import Chosen, Terms


@dataclass(frozen=True)
class LpReg:
    """-A·r + beta·k3(l, l̂) on protected tokens, in place of their loss; k3 = exp(l̂ - l) - 1 - (l̂ - l).

    l̂ is the token's logprob under the filtered proxy policy, given as ``ref_logprobs`` [B, T]
    (``min_p_logprobs`` makes it; filtered tokens have a very low one). Protected are, of the N⁻ valid tokens
    with A < 0, the max(1, ⌊fraction · N⁻⌋) of the lowest logprob, as far as l < l̂, which leaves out what the
    filter takes for noise. ``max_logprob``: the largest l of those on a larger set, where a batch comes in
    pieces. It sets the loss of its tokens anew, so it comes first in a sequence and not beside weights.

    The released code's reading: the quantile is taken among tokens with A < 0 (the paper: among all), and the
    forward KL of eq. 6 is its k3 estimate at the sampled token. The authors pair it with a ratio clip at
    (0, 10), ``PPOClip(low=1, high=9)``; their ``logp_neg_k_percent=0.01`` is this fraction (1 %), 0.005 at
    32B. Their code protects no token where ⌊fraction · N⁻⌋ is below 2 and clips k3 at 10; here neither.
    """

    fraction: float = 0.01
    beta: float = 1.0
    max_logprob: float | None = None

    def __post_init__(self) -> None:
        require_fraction("LpReg", self.fraction)
        require_number("LpReg", "beta", self.beta, least=0.0)
        if self.max_logprob is not None:
            require_number("LpReg", "max_logprob", self.max_logprob)

    @property
    def scope(self) -> str:
        """What the change of a token's loss depends on."""
        return "batch" if self.max_logprob is None else "token"

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        return ("ref_logprobs",)

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None = None) -> Terms:
        """The loss with the protected tokens."""
        from ..batch import log_ratio_to, where_unclamped
        from ..divergence import add_divergence

        assert batch.ref_logprobs is not None
        log_ratio = log_ratio_to(batch, batch.ref_logprobs)
        protected = self._unlikely(batch) * (log_ratio < 0)
        free, others = batch.signal * batch.ratio * protected, 1.0 - protected
        unprotected = replace(
            terms,
            value=terms.value * others + free,
            slope=terms.slope * others + where_unclamped(free, batch.log_ratio),
            weight=terms.weight * others + protected,
            unclipped=None if terms.unclipped is None else terms.unclipped.maximum(protected),
            reports={**terms.reports, "lp_reg/protected": protected.sum()},
        )
        return add_divergence(unprotected, log_ratio, "k3", self.beta * protected)

    def _unlikely(self, batch: TokenBatch) -> Tensor:
        """0/1 [B, T]: the valid tokens of negative advantage with the lowest logprobs."""
        from ..masking import count_of
        from ..selection import top_by_score
        from ..token_budget import TokenBudget

        punished = (batch.signal > 0).to(batch.inside.dtype)
        if self.max_logprob is not None:
            return punished * (batch.logprobs <= self.max_logprob)
        budget = TokenBudget(self.fraction)
        count, limit = budget.of_tensor(count_of(punished)), budget.of(punished.numel())
        return top_by_score(-batch.logprobs, punished, count, limit, batch.sample_ids)
