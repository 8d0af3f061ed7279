"""The surrogates that the others are measured by: REINFORCE, importance sampling, PPO's ratio clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..interfaces import Terms
from ..setting_checks import require_clip

if TYPE_CHECKING:
    from ..batch import TokenBatch


@dataclass(frozen=True)
class REINFORCE:
    """-A · l (Williams 1992). Its value is not a return; its gradient is the policy gradient."""

    scope: ClassVar[str] = "token"

    def terms(self, batch: TokenBatch) -> Terms:
        """The loss of each token and its slope, [B, T]."""
        return Terms(batch.signal * batch.logprobs, batch.signal, batch.inside)


@dataclass(frozen=True)
class ImportanceSampling:
    """-A · r: the surrogate of PPO without its ratio clip (arXiv 1707.06347, eq. 6)."""

    scope: ClassVar[str] = "token"

    def terms(self, batch: TokenBatch) -> Terms:
        """The loss of each token and its slope, [B, T]."""
        from ..batch import where_unclamped

        free = batch.signal * batch.ratio
        return Terms(free, where_unclamped(free, batch.log_ratio), batch.inside)


@dataclass(frozen=True)
class PPOClip:
    """max(-A·r, -A·clamp(r, 1-low, 1+high)) (arXiv 1707.06347, eq. 7; two bounds: arXiv 2503.14476).

    A token is clipped where the second term is the larger one: its gradient is zero.
    """

    scope: ClassVar[str] = "token"

    low: float = 0.2
    high: float = 0.2

    def __post_init__(self) -> None:
        require_clip("PPOClip", self.low, self.high)

    def terms(self, batch: TokenBatch) -> Terms:
        """The loss of each token and its slope, [B, T]."""
        from ..batch import where_unclamped

        free = batch.signal * batch.ratio
        bounded = batch.ratio.clamp(1.0 - self.low, 1.0 + self.high).mul_(batch.signal)
        value = bounded.maximum(free)
        unclipped = bounded.le_(free)
        slope = where_unclamped(free.mul_(unclipped), batch.log_ratio)
        return Terms(value, slope, unclipped, unclipped=unclipped)


DEFAULT_SURROGATE = PPOClip()
"""PPO's ratio clip at 0.2 on both sides."""
