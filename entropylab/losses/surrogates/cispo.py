"""CISPO: the ratio is a bounded weight, and every token keeps its gradient (arXiv 2506.13585)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..interfaces import Terms
from ..setting_checks import require_clip
from .bounds import bound_ratio

if TYPE_CHECKING:
    from ..batch import TokenBatch


@dataclass(frozen=True)
class CISPO:
    """-sg[clamp(r, 1-low, 1+high)]·A·l. Its value is not a return.

    ``low=1`` sets no lower bound, as in the paper, which tunes only the upper one and does not print it;
    ``high=0.2`` is what verl's example takes. A token whose ratio is out of bounds shows as clipped; its
    gradient is that of -A·r times bound/r, which is its weight.
    """

    scope: ClassVar[str] = "token"
    low: float = 1.0
    high: float = 0.2

    def __post_init__(self) -> None:
        require_clip("CISPO", self.low, self.high)

    def terms(self, batch: TokenBatch) -> Terms:
        """The loss of each token and its slope, [B, T]."""
        bounded, within, weight = bound_ratio(batch, 1.0 - self.low, 1.0 + self.high)
        slope = batch.signal * bounded
        return Terms(slope * batch.logprobs, slope, weight, unclipped=within)
