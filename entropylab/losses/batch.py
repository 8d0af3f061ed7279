"""The tensors of one token set, made safe: nothing outside the valid tokens can reach loss or gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .backend import torch
from .masking import as_indicator, between, count_of, keep, keep_finite

if TYPE_CHECKING:
    from torch import Tensor

LOG_RATIO_LIMIT = 20.0
"""Log-ratios are clamped to ± this before exp."""


@dataclass(frozen=True)
class TokenBatch:
    """One token set. Shapes [B, T]; the compute dtype is fp64 for fp64 logprobs and fp32 otherwise.

    Only ``source`` and ``entropy`` carry a gradient.
    """

    source: Tensor
    """Logprobs as given, with gradient; not safe outside the valid tokens."""
    logprobs: Tensor
    """Logprobs; 0 outside the valid tokens."""
    log_ratio: Tensor
    """log π/π_old clamped to ±20; 0 outside the valid tokens."""
    ratio: Tensor
    """exp of the log-ratio; 1 outside the valid tokens."""
    advantages: Tensor
    """[B, T] or [B, 1], finite."""
    signal: Tensor
    """-A [B, T], 0 outside the valid tokens: the factor of every surrogate."""
    inside: Tensor
    """1 for valid tokens (inside the mask and finite in every input that is used), 0 elsewhere."""
    lengths: Tensor
    """int64 [B]: valid tokens of each response."""
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

    @property
    def shape(self) -> torch.Size:
        """[B, T]."""
        return self.inside.shape

    def row_ids(self) -> Tensor:
        """The sample ids, int64 [B]; the numbers of the rows where none were given."""
        if self.sample_ids is not None:
            return self.sample_ids
        return torch.arange(len(self.inside), device=self.inside.device)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the valid tokens of values that are 0 elsewhere; 0 where there is no valid token."""
        return values.sum() / self.count.clamp(min=1)


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
    source, entropy = logprobs.to(dtype), None if entropy is None else entropy.to(dtype)
    old_logprobs = old_logprobs.detach().to(dtype)
    ref_logprobs = None if ref_logprobs is None else ref_logprobs.detach().to(dtype)
    advantages = advantages.detach().to(dtype)
    advantages = advantages.unsqueeze(1) if advantages.dim() == 1 else advantages
    with torch.no_grad():
        inside = as_indicator(mask, dtype)
        n_masked = count_of(inside)
        log_ratio = source.detach() - old_logprobs
        for values in (log_ratio, advantages, ref_logprobs, entropy):
            if values is not None:
                inside = keep_finite(inside, values.detach())
        lengths = inside.sum(1).long()
        count = lengths.sum()
        advantages = advantages.nan_to_num(0.0, 0.0, 0.0)
        log_ratio = _clamp_(log_ratio, inside)
        return TokenBatch(
            source=source,
            logprobs=keep(source, inside),
            log_ratio=log_ratio,
            ratio=log_ratio.exp(),
            advantages=advantages,
            signal=(inside * advantages).neg_(),
            inside=inside,
            lengths=lengths,
            count=count,
            nonfinite=n_masked - count,
            old_logprobs=old_logprobs,
            ref_logprobs=ref_logprobs,
            entropy=entropy,
            full_kl=full_kl,
            sample_ids=sample_ids,
            seed=seed,
            step=step,
        )


def log_ratio_to(batch: TokenBatch, reference: Tensor) -> Tensor:
    """log π - log π_ref clamped to ±20, 0 outside the valid tokens."""
    return _clamp_(batch.logprobs - reference, batch.inside)


def where_unclamped(slope: Tensor, log_ratio: Tensor) -> Tensor:
    """``slope`` where a log-ratio is not clamped, and 0 elsewhere."""
    return between(slope, log_ratio, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def _clamp_(difference: Tensor, inside: Tensor) -> Tensor:
    """Overwrites ``difference``."""
    return difference.nan_to_num_(0.0).clamp_(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).mul_(inside)
