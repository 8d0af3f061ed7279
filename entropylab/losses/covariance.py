"""The centred product of logprob and advantage of each token (arXiv 2505.22617, eq. 10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .backend import torch
from .batch import TokenBatch, make_batch
from .masking import keep, nan_outside
from .validation import check_tensors, check_values, resolve_validate

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Means:
    """Mean logprob and mean advantage of a token set, 0-d fp64."""

    logprob: Tensor
    advantage: Tensor


@dataclass(frozen=True)
class Centred:
    """What the covariance of each token is made of; without gradient."""

    logprob: Tensor
    """[B, T], minus the mean; 0 outside the valid tokens."""
    advantage: Tensor
    """[B, T] or [B, 1], minus the mean."""
    covariance: Tensor
    """[B, T], their product; 0 outside the valid tokens."""
    means: Means


def token_covariance(
    logprobs: Tensor, advantages: Tensor, mask: Tensor, *, validate: bool | None = None
) -> Tensor:
    """Centred product of each token: cov_t = (A_t - mean A) · (l_t - mean l); arXiv 2505.22617, eq. 10.

    Args:
        logprobs: [B, T], nats.
        advantages: [B, T], or [B] where all tokens of a response share one.
        mask: bool or 0/1 [B, T]; the means are over its tokens.
        validate: check values (waits for the device); None: on for CPU tensors, off elsewhere.

    Returns:
        [B, T] in nats times advantage, detached; NaN outside the mask.

    Raises:
        InvalidInputError: shapes, dtypes or devices that do not fit, an empty mask, or a non-finite value
            inside the mask; without ``validate`` such values stay out of the means and give NaN.
    """
    check_tensors(logprobs=logprobs, advantages=advantages, mask=mask)
    detached = logprobs.detach()
    batch = make_batch(detached, torch.zeros_like(detached), advantages, mask)
    if resolve_validate(validate, logprobs):
        check_values(batch, mask, {"logprobs": logprobs, "advantages": advantages}, may_be_empty=False)
    return centre(batch).covariance + nan_outside(batch.inside)


@torch.no_grad()
def centre(batch: TokenBatch, covariance_on: str = "current", means: Means | None = None) -> Centred:
    """Centre logprobs and advantages at their means over the valid tokens, or at given ``means``."""
    logprobs = batch.logprobs if covariance_on == "current" else keep(batch.old_logprobs, batch.inside)
    means = means or _means(batch, logprobs)
    centred_logprob = _minus(logprobs, means.logprob).mul_(batch.inside)
    centred_advantage = _minus(batch.advantages, means.advantage)
    return Centred(centred_logprob, centred_advantage, centred_logprob * centred_advantage, means)


def _means(batch: TokenBatch, logprobs: Tensor) -> Means:
    count = batch.count.clamp(min=1).double()
    logprob = logprobs.sum(dtype=torch.float64) / count
    if batch.advantages.shape[1] == 1:
        total = (batch.advantages.double().squeeze(1) * batch.lengths).sum()
    else:
        total = -batch.signal.sum(dtype=torch.float64)
    return Means(logprob, total / count)


def _minus(values: Tensor, mean: Tensor) -> Tensor:
    """``values`` minus an fp64 mean, in two steps so that an fp32 offset of 1e4 costs no digits."""
    leading = mean.to(values.dtype)
    rest = (mean - leading.double()).to(values.dtype)
    return (values - leading).sub_(rest)
