"""Sums over the valid tokens that the metrics of a loss are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor

    from .batch import TokenBatch


@dataclass(frozen=True)
class Totals:
    """0-d tensors. D = log π/π_old."""

    log_ratio: Tensor
    """Σ D."""
    k3: Tensor
    """Σ (exp(D) - 1 - D)."""
    clipped: Tensor
    """Tokens at which the surrogate's ratio clip is active."""
    ratio_max: Tensor
    """The largest π/π_old; 0 where there is no valid token."""


def totals_of(batch: TokenBatch, unclipped: Tensor | None) -> Totals:
    """Of the tokens of a batch."""
    k3 = batch.ratio.sub(batch.log_ratio).sub_(1.0).sum()
    ratio = batch.ratio * batch.inside
    largest = ratio.amax() if ratio.numel() else ratio.sum()
    clipped = torch.zeros_like(k3) if unclipped is None else unclipped.numel() - unclipped.sum()
    return Totals(batch.log_ratio.sum(), k3, clipped, largest)


def add_totals(parts: Sequence[Totals]) -> Totals:
    """Of several batches together."""

    def every(name: str) -> Tensor:
        return torch.stack([getattr(part, name) for part in parts])

    log_ratio, k3, clipped = (every(name).sum(dtype=torch.float64) for name in ("log_ratio", "k3", "clipped"))
    return Totals(log_ratio, k3, clipped, every("ratio_max").amax())
