"""Divergences of π from a reference at each token: estimators on the sampled token, or the full one.

With D = log π - log π_ref of the sampled token, the estimators of D(π ‖ π_ref) for tokens drawn from π are
k1 = D, k2 = D²/2, k3 = exp(-D) - 1 + D (Schulman 2020); |D| is the authors' penalty (arXiv 2505.22617).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InvalidInputError
from .backend import torch
from .batch import LOG_RATIO_LIMIT, TokenBatch
from .full_kl import FullKL

if TYPE_CHECKING:
    from torch import Tensor


def reference_log_ratio(batch: TokenBatch, reference: str) -> Tensor:
    """log π - log π_ref [B, T], clamped to ±20, for ``reference`` ``old`` or ``ref``; 0 where not valid."""
    if reference == "old":
        return batch.log_ratio
    assert batch.ref_logprobs is not None
    difference = batch.safe(batch.logprobs - batch.ref_logprobs)
    return difference.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def sampled_divergence(log_ratio: Tensor, name: str) -> Tensor:
    """The estimator ``name`` (``abs_logratio``, ``k1``, ``k2``, ``k3``) of D(π ‖ π_ref); 0 at D = 0."""
    if name == "abs_logratio":
        return log_ratio.abs()
    if name == "k1":
        return log_ratio
    if name == "k2":
        return 0.5 * log_ratio.square()
    return torch.expm1(-log_ratio) + log_ratio


def full_divergence(batch: TokenBatch, rows: Tensor, counts: Tensor, direction: str) -> tuple[Tensor, Tensor]:
    """Full KL [k] at flat rows and how many were not finite; 0 there and where a row does not count."""
    assert batch.full_kl is not None
    if isinstance(batch.full_kl, FullKL):
        batch.full_kl.check_rows(batch.valid.shape)
        values = batch.full_kl(rows, direction)
    else:
        values = batch.full_kl(rows)
    if not isinstance(values, torch.Tensor) or values.shape != rows.shape:
        shape = list(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        raise InvalidInputError(
            f"full_kl returned {shape} for {len(rows)} rows; it must return [{len(rows)}]"
        )
    finite = torch.isfinite(values.detach())
    kept = torch.where(counts & finite, values, 0.0).to(batch.logprobs.dtype)
    return kept, (counts & ~finite).sum()
