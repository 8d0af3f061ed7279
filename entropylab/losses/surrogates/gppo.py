"""GPPO and CE-GPPO: clipped tokens keep a bounded gradient (arXiv 2508.07629, 2509.20712)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..interfaces import Terms
from ..setting_checks import require_clip, require_number

if TYPE_CHECKING:
    from torch import Tensor

    from ..batch import TokenBatch


@dataclass(frozen=True)
class GPPO:
    """-A·r, and where PPO would clip, -A·β·(bound/sg[r])·r: value and gradient are β·bound.

    A token counts as clipped where r > 1+high and A > 0 (β = ``beta_high``) or r < 1-low and A < 0
    (β = ``beta_low``). With β = 1 the value is PPO's and only the gradient differs: GPPO. CE-GPPO weighs the
    two sides (its scripts: ``beta_low`` 0.75 at 7B and 0.5 at 1.5B, ``beta_high`` 1, both bounds 0.2). The
    authors' dual clip of the value at ratio 10 is left out. A clipped token's weight is β·bound/r.
    """

    scope: ClassVar[str] = "token"
    low: float = 0.2
    high: float = 0.28
    beta_low: float = 1.0
    beta_high: float = 1.0

    def __post_init__(self) -> None:
        require_clip("GPPO", self.low, self.high)
        require_number("GPPO", "beta_low", self.beta_low, least=0.0)
        require_number("GPPO", "beta_high", self.beta_high, least=0.0)

    def terms(self, batch: TokenBatch) -> Terms:
        """The loss of each token and its slope, [B, T]."""
        from ..backend import torch

        ratio, signal = batch.ratio, batch.signal
        below = (ratio < 1.0 - self.low) & (signal > 0)
        above = (ratio > 1.0 + self.high) & (signal < 0)
        kept = torch.where(below, self.beta_low * (1.0 - self.low), ratio)
        kept = torch.where(above, self.beta_high * (1.0 + self.high), kept)
        loss = signal * kept
        unclipped = (~(below | above)).to(loss.dtype)
        return Terms(loss, self._slope(batch, loss, unclipped), kept / ratio, unclipped=unclipped)

    @staticmethod
    def _slope(batch: TokenBatch, loss: Tensor, unclipped: Tensor) -> Tensor:
        """The loss itself, but 0 where a log-ratio beyond ±20 was clamped and its bound does not act."""
        from ..batch import where_unclamped

        free = loss * unclipped
        return where_unclamped(free, batch.log_ratio) + (loss - free)
