"""The gradient from probabilities that the forward pass kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backend import torch
from .gradient import HeadGradient, is_active
from .head import Head

if TYPE_CHECKING:
    from torch import Tensor


@torch.no_grad()
def add_from_kept_(
    gradient: HeadGradient,
    head: Head,
    states: Tensor,
    rows: Tensor,
    targets: Tensor,
    probabilities: Tensor,
    entropy: Tensor,
    by_logprob: Tensor,
    by_entropy: Tensor,
) -> None:
    """Add the gradient of ``rows`` int64 [n] with ``probabilities`` [n, V]; by chunks, all else [n].

    g·(1[j = y] - p_j) - h·(p_j log p_j + p_j·H), with p log p = 0 where p has no digits left.
    """
    for start in range(0, len(rows), head.chunk_rows):
        place = slice(start, start + head.chunk_rows)
        g, h = by_logprob[place] / head.temperature, by_entropy[place] / head.temperature
        p = probabilities[place].to(head.wide)
        by_logits = torch.xlogy(p, p).mul_(-h.unsqueeze(1))
        by_logits.addcmul_(p, (g + h * entropy[place]).unsqueeze(1), value=-1.0)
        columns = targets[place]
        added = torch.where(columns >= 0, g, 0.0).unsqueeze(1)
        by_logits.scatter_add_(1, columns.clamp(min=0).unsqueeze(1), added)
        factors = states[rows[place]].to(head.weight.dtype)
        gradient.add_(head, rows[place], factors, by_logits, is_active(g, h))
