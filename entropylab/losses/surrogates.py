"""Policy-gradient surrogates. r = π/π_old of the sampled token, A the advantage, l = log π.

Free of torch when imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InvalidInputError
from .interfaces import Terms
from .setting_checks import require_number

if TYPE_CHECKING:
    from .batch import TokenBatch


@dataclass(frozen=True)
class REINFORCE:
    """-A · l (Williams 1992). Its value is not a return; its gradient is the policy gradient."""

    def terms(self, batch: TokenBatch) -> Terms:
        """The loss of each token and its slope, [B, T]."""
        return Terms(batch.signal * batch.logprobs, batch.signal, batch.inside)


@dataclass(frozen=True)
class ImportanceSampling:
    """-A · r: the surrogate of PPO without its ratio clip (arXiv 1707.06347, eq. 6)."""

    def terms(self, batch: TokenBatch) -> Terms:
        """The loss of each token and its slope, [B, T]."""
        from .batch import where_unclamped

        free = batch.signal * batch.ratio
        return Terms(free, where_unclamped(free, batch.log_ratio), batch.inside)


@dataclass(frozen=True)
class PPOClip:
    """max(-A·r, -A·clamp(r, 1-low, 1+high)) (arXiv 1707.06347, eq. 7; two bounds: arXiv 2503.14476).

    A token is clipped where the second term is the larger one: its gradient is zero.
    """

    low: float = 0.2
    high: float = 0.2

    def __post_init__(self) -> None:
        require_number("PPOClip", "low", self.low, least=0.0)
        require_number("PPOClip", "high", self.high, least=0.0)
        if self.low > 1.0:
            raise InvalidInputError(f"PPOClip: low={self.low!r} is above 1: the ratio has no bound below 0")

    def terms(self, batch: TokenBatch) -> Terms:
        """The loss of each token and its slope, [B, T]."""
        from .batch import where_unclamped

        free = batch.signal * batch.ratio
        bounded = batch.ratio.clamp(1.0 - self.low, 1.0 + self.high).mul_(batch.signal)
        value = bounded.maximum(free)
        unclipped = bounded.le_(free)
        slope = where_unclamped(free.mul_(unclipped), batch.log_ratio)
        return Terms(value, slope, unclipped, unclipped=unclipped)


DEFAULT_SURROGATE = PPOClip()
"""PPO's ratio clip at 0.2 on both sides."""
