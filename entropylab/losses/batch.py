"""The tensors of one token set, made safe: nothing outside the valid tokens can reach loss or gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .backend import torch
from .masking import between, keep
from .valid_tokens import ValidTokens, valid_tokens

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
    log_ratio: Tensor
    """log π/π_old clamped to ±20; 0 outside the valid tokens."""
    ratio: Tensor
    """exp of the log-ratio; 1 outside the valid tokens."""
    signal: Tensor
    """-A [B, T], 0 outside the valid tokens: the factor of every surrogate."""
    response_advantages: Tensor | None
    """[B, 1], finite, where the tokens of a response share one; else None."""
    inside: Tensor
    """1 for valid tokens (inside the mask, finite and below a million in every input used), 0 elsewhere."""
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
    sample_ids: Tensor
    """int64 [B]; the numbers of the rows where none were given."""
    seed: int
    step: int

    @property
    def shape(self) -> torch.Size:
        """[B, T]."""
        return self.inside.shape

    @property
    def logprobs(self) -> Tensor:
        """Logprobs without gradient; 0 outside the valid tokens."""
        return keep(self.source.detach(), self.inside)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the valid tokens of values that are 0 elsewhere; 0 where there is no valid token."""
        return values.sum() / self.count.clamp(min=1)

    def at(self, rows: Tensor, inside: Tensor) -> TokenBatch:
        """The tokens at flat ``rows`` [k], as responses of one token, valid where ``inside`` [k, 1] is 1."""
        row, column = rows // self.shape[1], rows % self.shape[1]

        def pick(values: Tensor) -> Tensor:
            return values[row, column].unsqueeze(1)

        advantages, reference, entropy = self.response_advantages, self.ref_logprobs, self.entropy
        return replace(
            self,
            source=pick(self.source),
            log_ratio=pick(self.log_ratio),
            ratio=pick(self.ratio),
            signal=pick(self.signal),
            old_logprobs=pick(self.old_logprobs),
            ref_logprobs=None if reference is None else pick(reference),
            entropy=None if entropy is None else pick(entropy),
            response_advantages=None if advantages is None else advantages[row],
            inside=inside,
            lengths=inside.squeeze(1).long(),
            sample_ids=self.sample_ids[row],
        )


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
    valid: ValidTokens | None = None,
) -> TokenBatch:
    """The safe token set of checked tensors. Give only the optional inputs that are used.

    ``valid``: what ``valid_of`` says of these inputs, where it is known.
    """
    dtype = compute_dtype(logprobs)
    source, entropy = logprobs.to(dtype), None if entropy is None else entropy.to(dtype)
    old_logprobs = old_logprobs.detach().to(dtype)
    ref_logprobs = None if ref_logprobs is None else ref_logprobs.detach().to(dtype)
    shared = advantages.dim() == 1
    advantages = by_token(advantages.detach().to(dtype))
    with torch.no_grad():
        if valid is None:
            valid = valid_of(source, old_logprobs, advantages, mask, ref_logprobs, entropy)
        inside = valid.inside
        log_ratio = _clamped(valid.log_ratio, inside)
        return TokenBatch(
            source=source,
            log_ratio=log_ratio,
            ratio=log_ratio.exp(),
            signal=valid.advantages.neg(),
            response_advantages=advantages.nan_to_num(0.0, 0.0, 0.0) if shared else None,
            inside=inside,
            lengths=valid.lengths,
            count=valid.lengths.sum(),
            nonfinite=valid.nonfinite,
            old_logprobs=old_logprobs,
            ref_logprobs=ref_logprobs,
            entropy=entropy,
            full_kl=full_kl,
            sample_ids=torch.arange(len(inside), device=inside.device) if sample_ids is None else sample_ids,
            seed=seed,
            step=step,
        )


def valid_of(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    ref_logprobs: Tensor | None = None,
    entropy: Tensor | None = None,
) -> ValidTokens:
    """The valid tokens of inputs in the compute dtype, by the names of ``make_batch``."""
    others = [None if values is None else values.detach() for values in (ref_logprobs, entropy)]
    return valid_tokens(mask, logprobs.detach(), old_logprobs, by_token(advantages), *others)


def by_token(advantages: Tensor) -> Tensor:
    """[B, T], or [B, 1] from [B]."""
    return advantages.unsqueeze(1) if advantages.dim() == 1 else advantages


def compute_dtype(logprobs: Tensor) -> torch.dtype:
    """fp64 for fp64 logprobs, fp32 otherwise."""
    return torch.float64 if logprobs.dtype == torch.float64 else torch.float32


def log_ratio_to(batch: TokenBatch, reference: Tensor) -> Tensor:
    """log π - log π_ref clamped to ±20, 0 outside the valid tokens."""
    return _clamped(batch.source.detach() - reference, batch.inside)


def where_unclamped(slope: Tensor, log_ratio: Tensor) -> Tensor:
    """``slope`` where a log-ratio is not clamped, and 0 elsewhere."""
    return between(slope, log_ratio, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def _clamped(difference: Tensor, inside: Tensor) -> Tensor:
    """A fresh tensor."""
    return keep(difference, inside).clamp_(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
