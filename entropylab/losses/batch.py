"""The tensors of one token set, made safe: nothing outside the valid tokens can reach loss or gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are clamped to ± this before exp."""


@dataclass(frozen=True)
class TokenBatch:
    """One token set. Shapes [B, T]; the compute dtype is fp64 for fp64 logprobs and fp32 otherwise."""

    logprobs: Tensor
    """Current logprobs, with gradient; 0 outside the valid tokens."""
    log_ratio: Tensor
    """log π/π_old clamped to ±20, with gradient; 0 outside the valid tokens."""
    ratio: Tensor
    """exp of the log-ratio; 1 outside the valid tokens."""
    advantages: Tensor
    """[B, T] or [B, 1], finite, without gradient."""
    signal: Tensor
    """-A [B, T], 0 outside the valid tokens: the factor of every surrogate."""
    valid: Tensor
    """bool: inside the mask and finite in every input that is used."""
    invalid: Tensor
    """The complement of ``valid``."""
    count: Tensor
    """0-d int64: valid tokens."""
    nonfinite: Tensor
    """0-d int64: tokens inside the mask with a non-finite input."""
    old_logprobs: Tensor
    """As given, in the compute dtype; not safe outside the valid tokens."""
    ref_logprobs: Tensor | None
    """As given, in the compute dtype; not safe outside the valid tokens."""
    entropy: Tensor | None
    """As given, with gradient, in the compute dtype; not safe outside the valid tokens."""
    full_kl: Callable[..., Tensor] | None
    """Full-vocabulary KL divergence at flat rows."""
    sample_ids: Tensor | None
    """int64 [B]; None: rows are numbered."""
    seed: int
    step: int

    def safe(self, values: Tensor) -> Tensor:
        """``values`` [B, T] with 0 outside the valid tokens, in value and in gradient."""
        return torch.where(self.valid, values, 0.0)

    def row_ids(self) -> Tensor:
        """The sample ids, int64 [B]; the numbers of the rows where none were given."""
        if self.sample_ids is not None:
            return self.sample_ids
        return torch.arange(len(self.valid), device=self.valid.device)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the valid tokens of values that are 0 elsewhere; 0 where there is no valid token."""
        return values.detach().sum() / self.count.clamp(min=1)


def make_batch(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    ref_logprobs: Tensor | None = None,
    entropy: Tensor | None = None,
    full_kl: Callable[..., Tensor] | None = None,
    sample_ids: Tensor | None = None,
    seed: int = 0,
    step: int = 0,
) -> TokenBatch:
    """The safe token set of checked tensors. Give only the optional inputs that are used."""
    dtype = torch.float64 if logprobs.dtype == torch.float64 else torch.float32
    logprobs = logprobs.to(dtype)
    old_logprobs = old_logprobs.detach().to(dtype)
    advantages = advantages.detach().to(dtype)
    ref_logprobs = None if ref_logprobs is None else ref_logprobs.detach().to(dtype)
    entropy = None if entropy is None else entropy.to(dtype)
    advantages = advantages.unsqueeze(1) if advantages.dim() == 1 else advantages
    inside = mask if mask.dtype == torch.bool else mask != 0

    raw_ratio = logprobs - old_logprobs
    optional = [x.detach() for x in (ref_logprobs, entropy) if x is not None]
    valid = inside & _finite(raw_ratio.detach())
    for values in (advantages, *optional):
        valid &= _finite(values)
    count = valid.sum()
    log_ratio = torch.where(valid, raw_ratio, 0.0).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return TokenBatch(
        logprobs=torch.where(valid, logprobs, 0.0),
        log_ratio=log_ratio,
        ratio=log_ratio.exp(),
        advantages=torch.where(_finite(advantages), advantages, 0.0),
        signal=torch.where(valid, -advantages, 0.0),
        valid=valid,
        invalid=~valid,
        count=count,
        nonfinite=inside.sum() - count,
        old_logprobs=old_logprobs,
        ref_logprobs=ref_logprobs,
        entropy=entropy,
        full_kl=full_kl,
        sample_ids=sample_ids,
        seed=seed,
        step=step,
    )


def _finite(values: Tensor) -> Tensor:
    return values.abs() < torch.inf
