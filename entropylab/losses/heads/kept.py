"""The gradient from probabilities that the forward pass kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backend import torch
from .gradient import HeadGradient
from .head import Head
from .row_kernels import row_kernels
from .rows import RowSlopes

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
    """Add the gradient of ``rows`` int64 [n] with ``probabilities`` [n, V]; by chunks, all else [n]."""
    kernels = row_kernels(head, states.device)
    for start in range(0, len(rows), head.chunk_rows):
        place = slice(start, start + head.chunk_rows)
        slopes = RowSlopes(targets[place], entropy[place], by_logprob[place], by_entropy[place])
        found = kernels.gradient_of_kept(head, probabilities[place], slopes)
        gradient.add_(head, rows[place], states[rows[place]].to(head.weight.dtype), found)
