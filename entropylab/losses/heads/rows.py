"""What rows of logits are folded to, and what their gradient is made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ..backend import torch
from .head import BANNED

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Folded:
    """Rows of logits z as sums that vocabulary shards can merge; all [n]."""

    peak: Tensor
    """max z."""
    total: Tensor
    """Σ exp(z - peak)."""
    moment: Tensor
    """Σ exp(z - peak)·(z - peak)."""
    target: Tensor
    """z of the sampled token less the peak; 0 where another shard holds it."""
    top_token: Tensor | None = None
    """Column of max z, where asked for."""
    second: Tensor | None = None
    """Σ exp(z - peak)·(z - mean)², mean = Σ p z, where asked for."""


@dataclass(frozen=True)
class RowStats:
    """Of the distribution p = softmax(z); all [n], nats."""

    logprobs: Tensor
    """log p of the sampled token."""
    entropy: Tensor
    """-Σ p log p."""
    logsumexp: Tensor
    """log Σ exp z."""
    top_logprob: Tensor | None = None
    """log of the highest p."""
    top_token: Tensor | None = None
    """Its column."""
    varentropy: Tensor | None = None
    """Variance of log p under p."""


@dataclass(frozen=True)
class RowSlopes:
    """What the gradient of a loss with respect to rows of logits follows from; all [n]."""

    targets: Tensor
    """int64: columns of the sampled tokens, negative where a row has none."""
    entropy: Tensor
    by_logprob: Tensor
    """∂L/∂log p of the sampled token."""
    by_entropy: Tensor | None
    """∂L/∂H; None: 0."""

    @property
    def active(self) -> Tensor:
        """Bool [n]: rows with a gradient."""
        return is_active(self.by_logprob, self.by_entropy)


def is_active(by_logprob: Tensor, by_entropy: Tensor | None) -> Tensor:
    """Bool [n]: rows with a gradient."""
    return by_logprob != 0 if by_entropy is None else (by_logprob != 0) | (by_entropy != 0)


@dataclass(frozen=True)
class RowGradient:
    """∂L/∂z of rows of logits; the rows left out, and those of zeros, give nothing."""

    by_logits: Tensor
    """[m, V]."""
    places: Tensor | None = None
    """int64 [m]: which of the rows they are; None: all, one after another."""
    idle: Tensor | None = None
    """Bool [n]: rows of zeros, whose hidden states may hold what is not finite; None: none."""


def stats_of(folded: Folded) -> RowStats:
    """log p(y) = z_y - log Σ exp z and H = log Σ exp(z - m) - Σ p (z - m), from the sums.

    -inf for a token whose bias is.
    """
    log_total, mean = folded.total.log(), folded.moment / folded.total
    logprobs = folded.target - log_total
    return RowStats(
        logprobs=logprobs.masked_fill(folded.target < BANNED / 2, -math.inf),
        entropy=log_total - mean,
        logsumexp=folded.peak + log_total,
        top_logprob=None if folded.top_token is None else -log_total,
        top_token=folded.top_token,
        varentropy=None if folded.second is None else folded.second / folded.total,
    )


def joined(parts: Sequence[RowStats]) -> RowStats:
    """The statistics of several chunks, one after another."""

    def together(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values)

    return RowStats(**{field.name: together(field.name) for field in fields(RowStats)})
