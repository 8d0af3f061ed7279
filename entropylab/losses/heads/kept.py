"""The gradient from exponentials of the logits that the forward pass kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backend import torch
from .gradient import HeadGradient, is_active
from .head import Head

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Kept:
    """Rows of p = exp(z - peak) · share: the likeliest token is an exact 1, so p near 1 keeps its digits."""

    exponentials: Tensor
    """exp(z - peak) [n, V], in the dtype of the hidden states."""
    log_shares: Tensor
    """[n], wide."""

    @classmethod
    def empty(cls, states: Tensor, rows: int, head: Head) -> Kept:
        """To be filled by ``put``."""
        log_shares = torch.empty(rows, dtype=head.wide, device=states.device)
        return cls(states.new_empty(rows, head.size), log_shares)

    def put(self, place: slice, exponentials: Tensor, log_shares: Tensor) -> None:
        """Keep some rows."""
        self.exponentials[place] = exponentials
        self.log_shares[place] = log_shares


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
    by_entropy: Tensor,
) -> None:
    """Add the gradient of ``rows`` int64 [n] with what is ``kept`` of them; by chunks, all else [n].

    With p = e·s: g·(1[j = y] - p_j) - h·s·(e_j log e_j + e_j·(log s + H)), and e log e = 0 where e has no
    digits left.
    """
    for start in range(0, len(rows), head.chunk_rows):
        place = slice(start, start + head.chunk_rows)
        g, h = by_logprob[place] / head.temperature, by_entropy[place] / head.temperature
        e, log_share = kept.exponentials[place].to(head.wide), kept.log_shares[place]
        share = log_share.exp()
        by_logits = torch.xlogy(e, e).mul_((-h * share).unsqueeze(1))
        level = (g + h * (log_share + entropy[place])) * share
        by_logits.addcmul_(e, level.unsqueeze(1), value=-1.0)
        columns = targets[place]
        added = torch.where(columns >= 0, g, 0.0).unsqueeze(1)
        by_logits.scatter_add_(1, columns.clamp(min=0).unsqueeze(1), added)
        factors = states[rows[place]].to(head.weight.dtype)
        gradient.add_(head, rows[place], factors, by_logits, is_active(g, h))
