"""The centred product of logprob and advantage of each token (arXiv 2505.22617, eq. 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .backend import torch
from .batch import TokenBatch, compute_dtype, make_batch, valid_of
from .fixed_point import N_PARTS, as_number, parts_of, row_sums, weighted_row_sums
from .masking import keep, nan_outside
from .valid_tokens import ValidTokens
from .validation import check_tensors, check_values, resolve_validate

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Means:
    """Mean logprob and mean advantage of a token set, 0-d fp64."""

    logprob: Tensor
    advantage: Tensor

    def centring(self, dtype: torch.dtype) -> Centring:
        """What subtracts them in ``dtype``, in two steps: an fp32 offset of 1e4 costs no digits."""
        means = torch.stack([self.logprob, self.advantage])
        leading = means.to(dtype)
        rest = (means - leading.double()).to(dtype)
        return Centring(*(Shift(*pair) for pair in zip(leading.unbind(), rest.unbind(), strict=True)))


class Shift(NamedTuple):
    """A mean as the sum of two numbers of the compute dtype."""

    leading: Tensor
    rest: Tensor

    def __call__(self, values: Tensor) -> Tensor:
        """The values minus the mean; a fresh tensor."""
        return (values - self.leading).sub_(self.rest)


class Centring(NamedTuple):
    """What subtracts the means of a token set."""

    logprob: Shift
    advantage: Shift


class RowMoments(NamedTuple):
    """Of each response."""

    lengths: Tensor
    """int64 [B]: valid tokens."""
    sums: Tensor
    """int64 [2, B]: of logprobs and of advantages; of ``fixed_point.row_sums``."""
    left: Tensor | None
    """int64 [2, B]: what ``sums`` leave."""


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
    dtype = compute_dtype(detached)
    named = (detached.to(dtype), torch.zeros_like(detached, dtype=dtype), advantages.detach().to(dtype), mask)
    valid = valid_of(*named)
    batch = make_batch(*named, valid=valid)
    if resolve_validate(validate, logprobs):
        check_values(batch, mask, {"logprobs": logprobs, "advantages": advantages}, may_be_empty=False)
    moments = join_moments([row_moments(valid, named[0], named[2])])
    return centre(batch, means_of(moments).centring(dtype)).covariance + nan_outside(batch.inside)


@torch.no_grad()
def row_moments(valid: ValidTokens, logprobs: Tensor, advantages: Tensor) -> RowMoments:
    """Of valid tokens with these logprobs [B, T] and advantages [B, T] or [B]."""
    first = row_sums(keep(logprobs, valid.inside))
    if advantages.dim() == 2:
        second = row_sums(valid.advantages)
    else:
        second = weighted_row_sums(advantages.nan_to_num(0.0, 0.0, 0.0), valid.lengths)
    left = None if first[1] is None or second[1] is None else torch.stack([first[1], second[1]])
    return RowMoments(valid.lengths, torch.stack([first[0], second[0]]), left)


def join_moments(blocks: Sequence[RowMoments]) -> Tensor:
    """int64 [7]: valid tokens, exact sums of their logprobs and of their advantages; they add up."""
    lengths = torch.cat([part.lengths for part in blocks])
    sums, left = (
        None if part[0] is None else torch.cat(part, -1) for part in list(zip(*blocks, strict=True))[1:]
    )
    assert sums is not None
    return torch.cat([lengths.sum().view(1), parts_of(sums, left).flatten()])


def means_of(moments: Tensor) -> Means:
    """The means that the moments [7] of a token set give."""
    sums = as_number(moments[1:].view(N_PARTS, 2))
    logprob, advantage = (sums / moments[0].clamp(min=1)).unbind()
    return Means(logprob, advantage)


@torch.no_grad()
def centre(batch: TokenBatch, at: Centring, covariance_on: str = "current") -> Centred:
    """Centre logprobs and advantages at the means."""
    advantages = batch.response_advantages
    centred_logprob = at.logprob(_centred_on(batch, covariance_on)).mul_(batch.inside)
    centred_advantage = at.advantage(batch.signal.neg() if advantages is None else advantages)
    return Centred(centred_logprob, centred_advantage, centred_logprob * centred_advantage)


def _centred_on(batch: TokenBatch, covariance_on: str) -> Tensor:
    return batch.logprobs if covariance_on == "current" else keep(batch.old_logprobs, batch.inside)
