"""The divergence of rows of logits with its gradient in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor


def row_kl(logits: Tensor, ref_logits: Tensor, direction: str) -> tuple[Tensor, Tensor]:
    """KL of each row of logits [k, V], [k], NaN where it is not finite; and its gradient [k, V], 0 there.

    With K the divergence, p = softmax(z) and q the reference:
    ∂D(p‖q)/∂z = p · (log p - log q - K);  ∂D(q‖p)/∂z = p - q.
    """
    log_p, log_q = logits.log_softmax(-1), ref_logits.log_softmax(-1)
    p = log_p.exp()
    if direction == "reverse_kl":
        gap = log_p.sub_(log_q).masked_fill_(p == 0, 0.0)
        value = log_q.copy_(gap).mul_(p).sum(-1)
        gradient = p.mul_(gap.sub_(value.unsqueeze(-1)))
    else:
        q = log_q.exp()
        value = log_q.sub_(log_p).masked_fill_(q == 0, 0.0).mul_(q).sum(-1)
        gradient = p.sub_(q)
    finite = torch.isfinite(value)
    return torch.where(finite, value, torch.nan), gradient.masked_fill_(~finite.unsqueeze(-1), 0.0)
