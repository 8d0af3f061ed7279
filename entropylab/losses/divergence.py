"""Divergences of π from a reference at each token: estimators on the sampled token, or the full one.

With D = log π - log π_ref of the sampled token, the estimators of D(π ‖ π_ref) for tokens drawn from π are
k1 = D, k2 = D²/2, k3 = exp(-D) - 1 + D (Schulman 2020); |D| is the authors' penalty (arXiv 2505.22617).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import InvalidInputError
from .backend import torch
from .batch import TokenBatch, log_ratio_to, where_unclamped
from .masking import gate

if TYPE_CHECKING:
    from torch import Tensor

    from .interfaces import Terms


def reference_log_ratio(batch: TokenBatch, reference: str) -> Tensor:
    """log π - log π_ref [B, T], clamped to ±20, for ``reference`` ``old`` or ``ref``; 0 where not valid."""
    if reference == "old":
        return batch.log_ratio
    assert batch.ref_logprobs is not None
    return log_ratio_to(batch, batch.ref_logprobs)


def sampled_divergence(log_ratio: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The estimator ``name`` of D(π ‖ π_ref) at each token, and its derivative by log π.

    The derivative of k1 is 1 everywhere, also outside the valid tokens.
    """
    if name == "abs_logratio":
        return log_ratio.abs(), where_unclamped(log_ratio.sign(), log_ratio)
    if name == "k1":
        return log_ratio, where_unclamped(torch.ones_like(log_ratio), log_ratio)
    if name == "k2":
        return 0.5 * log_ratio.square(), where_unclamped(log_ratio, log_ratio)
    shrunk = torch.expm1(-log_ratio)
    return shrunk + log_ratio, where_unclamped(-shrunk, log_ratio)


@torch.no_grad()
def add_divergence(terms: Terms, log_ratio: Tensor, name: str, factor: Tensor) -> Terms:
    """The loss with ``factor`` [B, T] (0 outside the valid tokens) times the estimator ``name``."""
    value, slope = sampled_divergence(log_ratio, name)
    return replace(terms, value=terms.value + factor * value, slope=terms.slope + factor * slope)


def summed_divergence(batch: TokenBatch, log_ratio: Tensor, name: str, factor: Tensor) -> Tensor:
    """Σ factor · estimator ``name``, 0-d with gradient; ``factor`` as in ``add_divergence``."""
    with torch.no_grad():
        value, slope = sampled_divergence(log_ratio, name)
        value, slope = value * factor, slope * factor
    return gate(batch.source, value, slope).sum()


def full_divergence(batch: TokenBatch, rows: Tensor, counts: Tensor, direction: str) -> tuple[Tensor, Tensor]:
    """Full KL [k] at flat rows and how many were not finite; 0 there and where a row does not count."""
    assert batch.full_kl is not None
    named = (direction,) if getattr(batch.full_kl, "takes_direction", False) else ()
    values = batch.full_kl(rows, *named)
    if not isinstance(values, torch.Tensor) or values.shape != rows.shape:
        shape = list(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        raise InvalidInputError(
            f"full_kl returned {shape} for {len(rows)} rows; it must return [{len(rows)}]"
        )
    finite = torch.isfinite(values.detach())
    kept = torch.where(counts & finite, values, 0.0).to(batch.inside.dtype)
    return kept, (counts & ~finite).sum()
