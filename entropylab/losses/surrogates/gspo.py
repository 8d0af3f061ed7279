"""GSPO: one ratio for a whole response (arXiv 2507.18071)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..interfaces import Terms
from ..setting_checks import require_clip

if TYPE_CHECKING:
    from ..batch import TokenBatch


@dataclass(frozen=True)
class GSPO:
    """max(-A·s, -A·clamp(s, 1-low, 1+high)), s = exp(mean of log π/π_old over the response).

    Each token t carries s_t = sg[s]·π_t/sg[π_t] (the paper's token-level form, GSPO-token), so the advantage
    may differ within a response. Its gradient equals that of the sequence-level objective where the response
    shares one advantage and ``reduction="seq_mean_token_mean"`` is used, which the paper prescribes.
    The bounds are the paper's: a mean log-ratio moves far less than that of one token.
    """

    scope: ClassVar[str] = "response"
    low: float = 3e-4
    high: float = 4e-4

    def __post_init__(self) -> None:
        require_clip("GSPO", self.low, self.high)

    def terms(self, batch: TokenBatch) -> Terms:
        """The loss of each token and its slope, [B, T]."""
        from ..batch import where_unclamped

        mean = batch.log_ratio.sum(1, keepdim=True) / batch.lengths.clamp(min=1).unsqueeze(1)
        ratio = mean.exp()
        free = batch.signal * ratio
        bounded = batch.signal * ratio.clamp(1.0 - self.low, 1.0 + self.high)
        unclipped = (bounded <= free).to(free.dtype)
        slope = where_unclamped(free * unclipped, batch.log_ratio)
        return Terms(bounded.maximum(free), slope, unclipped, unclipped=unclipped)
