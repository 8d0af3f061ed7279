"""Which tokens count: those inside the mask whose inputs are all finite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .backend import torch
from .masking import as_indicator, count_of, drop_large_, keep

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ValidTokens:
    """The valid tokens of [B, T]."""

    inside: Tensor
    """1 for valid tokens (inside the mask, finite and below a million in every input used), 0 elsewhere."""
    lengths: Tensor
    """int64 [B]: valid tokens of each response."""
    nonfinite: Tensor
    """0-d int64: tokens inside the mask with a non-finite input."""
    log_ratio: Tensor
    """[B, T]: logprobs - old logprobs as they are; not safe outside the valid tokens."""
    advantages: Tensor
    """[B, T]; 0 outside the valid tokens."""


@torch.no_grad()
def valid_tokens(
    mask: Tensor, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *others: Tensor | None
) -> ValidTokens:
    """Look at the inputs [B, T] in the compute dtype; advantages may be [B, 1]."""
    inside = as_indicator(mask, logprobs.dtype)
    n_masked = count_of(inside)
    log_ratio = logprobs - old_logprobs
    probe = log_ratio + advantages
    for values in (logprobs, *others):
        if values is not None:
            probe.add_(values)
    inside = drop_large_(inside, probe)
    lengths = inside.sum(1).long()
    return ValidTokens(inside, lengths, n_masked - lengths.sum(), log_ratio, keep(advantages, inside))
