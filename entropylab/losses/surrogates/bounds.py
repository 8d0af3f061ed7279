"""Ratios held within bounds, for surrogates whose clipped tokens keep a gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..batch import TokenBatch


def bound_ratio(batch: TokenBatch, low: float, high: float) -> tuple[Tensor, Tensor, Tensor]:
    """The ratio within [low, high]; 0/1 whether it was; and bounded/ratio. All [B, T]; 1 where not valid."""
    bounded = batch.ratio.clamp(low, high)
    within = (bounded == batch.ratio).to(bounded.dtype)
    return bounded, within, bounded / batch.ratio
