"""The gradient from exponentials of the logits that the forward pass kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backend import torch
from .gradient import HeadGradient
from .head import Head
from .row_kernels import row_kernels
from .rows import RowSlopes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Kept:
    """Rows of exp(z - peak): the likeliest token is an exact 1, so a p near 1 keeps its digits."""

    exponentials: Tensor
    """exp(z - peak) [n, V], in the dtype of the hidden states."""
    log_total: Tensor
    """[n], wide."""

    @classmethod
    def empty(cls, states: Tensor, rows: int, head: Head) -> Kept:
        """To be filled."""
        log_total = torch.empty(rows, dtype=head.wide, device=states.device)
        return cls(states.new_empty(rows, head.size), log_total)


@torch.no_grad()
def add_from_kept_(
    gradient: HeadGradient,
    head: Head,
    states: Tensor,
    rows: Tensor,
    targets: Tensor,
    kept: Kept,
    entropy: Tensor,
    by_logprob: Tensor,
    by_entropy: Tensor | None,
) -> None:
    """Add the gradient of ``rows`` int64 [n] with what is ``kept`` of them; by chunks, all else [n]."""
    kernels = row_kernels(head, states.device)
    for start in range(0, len(rows), head.chunk_rows):
        place = slice(start, start + head.chunk_rows)
        h = None if by_entropy is None else by_entropy[place]
        slopes = RowSlopes(targets[place], entropy[place], by_logprob[place], h)
        found = kernels.gradient_of_kept(head, kept.exponentials[place], kept.log_total[place], slopes)
        gradient.add_(head, rows[place], states[rows[place]].to(head.weight.dtype), found)
