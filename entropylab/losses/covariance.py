"""The centred product of logprob and advantage of each token (arXiv 2505.22617, eq. 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .backend import torch
from .batch import TokenBatch, make_batch
from .fixed_point import N_PARTS, as_number, parts_of, row_sums, weighted_row_sums
from .masking import keep, nan_outside
from .validation import check_tensors, check_values, resolve_validate

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Means:
    """Mean logprob and mean advantage of a token set, 0-d fp64."""

    logprob: Tensor
    advantage: Tensor


class RowMoments(NamedTuple):
    """int64 [B] each; of ``fixed_point.row_sums``."""

    lengths: Tensor
    logprobs: Tensor
    logprobs_left: Tensor | None
    signal: Tensor
    signal_left: Tensor | None


@dataclass(frozen=True)
class Centred:
    """What the covariance of each token is made of; without gradient."""

    logprob: Tensor
    """[B, T], minus the mean; 0 outside the valid tokens."""
    advantage: Tensor
    """[B, T] or [B, 1], minus the mean."""
    covariance: Tensor
    """[B, T], their product; 0 outside the valid tokens."""


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
    moments = join_moments([row_moments(batch)])
    return centre(batch, means_of(moments)).covariance + nan_outside(batch.inside)


@torch.no_grad()
def row_moments(batch: TokenBatch, covariance_on: str = "current") -> RowMoments:
    """Valid tokens of each response, exact sums of their logprobs and of their negated advantages."""
    logprobs = row_sums(_centred_on(batch, covariance_on))
    if batch.response_advantages is None:
        return RowMoments(batch.lengths, *logprobs, *row_sums(batch.signal))
    shared = batch.response_advantages.squeeze(1)
    return RowMoments(batch.lengths, *logprobs, *weighted_row_sums(-shared, batch.lengths))


def join_moments(blocks: Sequence[RowMoments]) -> Tensor:
    """int64 [7]: valid tokens, exact sums of their logprobs and of their negated advantages; they add up."""
    lengths, logprobs, logprobs_left, signal, signal_left = (
        None if part[0] is None else torch.cat(part) for part in zip(*blocks, strict=True)
    )
    assert lengths is not None
    assert logprobs is not None
    assert signal is not None
    parts = (parts_of(logprobs, logprobs_left), parts_of(signal, signal_left))
    return torch.cat([lengths.sum().view(1), *parts])


def means_of(moments: Tensor) -> Means:
    """The means that the moments [7] of a token set give."""
    count = moments[0].clamp(min=1).double()
    logprobs, negated = moments[1 : 1 + N_PARTS], moments[1 + N_PARTS :]
    return Means(as_number(logprobs) / count, -as_number(negated) / count)


@torch.no_grad()
def centre(batch: TokenBatch, means: Means, covariance_on: str = "current") -> Centred:
    """Centre logprobs and advantages at the means."""
    dtype, advantages = batch.inside.dtype, batch.response_advantages
    centred_logprob = Shift(means.logprob, dtype)(_centred_on(batch, covariance_on)).mul_(batch.inside)
    given = batch.signal.neg() if advantages is None else advantages
    centred_advantage = Shift(means.advantage, dtype)(given)
    return Centred(centred_logprob, centred_advantage, centred_logprob * centred_advantage)


def _centred_on(batch: TokenBatch, covariance_on: str) -> Tensor:
    return batch.logprobs if covariance_on == "current" else keep(batch.old_logprobs, batch.inside)


class Shift:
    """Subtracts an fp64 mean, in two steps so that an fp32 offset of 1e4 costs no digits."""

    def __init__(self, mean: Tensor, dtype: torch.dtype) -> None:
        self._leading = mean.to(dtype)
        self._rest = (mean - self._leading.double()).to(dtype)

    def __call__(self, values: Tensor) -> Tensor:
        """A fresh tensor."""
        return (values - self._leading).sub_(self._rest)
