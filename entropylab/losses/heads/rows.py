"""What is done to rows of logits: folded to a few numbers, then turned into gradients in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ..backend import torch

if TYPE_CHECKING:
    from torch import Tensor

DOT_COLUMNS = 1024
"""Columns that one product of rows sums up on a CPU, where it adds them one by one and rounds each time."""


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


def fold_(
    logits: Tensor, exponentials: Tensor, targets: Tensor, *, top: bool = False, second: bool = False
) -> Folded:
    """Sums of ``logits`` [n, V], which become z - max z; ``exponentials`` [n, V] become their exp.

    ``targets`` int64 [n]: columns, negative where the row has none. ``second`` overwrites both.
    """
    peak, top_token = logits.max(1) if top else (logits.amax(1), None)
    logits.sub_(peak.unsqueeze(1))
    torch.exp(logits, out=exponentials)
    at = logits.gather(1, targets.clamp(min=0).unsqueeze(1)).squeeze(1)
    total, moment = exponentials.sum(1), _dot(logits, exponentials)
    squares = None
    if second:
        logits.sub_((moment / total).unsqueeze(1))
        squares = _dot(logits, exponentials.mul_(logits))
    return Folded(peak, total, moment, torch.where(targets >= 0, at, 0.0), top_token, squares)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ_j a_ij b_ij [n], without a third matrix."""
    width = DOT_COLUMNS if a.device.type == "cpu" else max(1, a.shape[1])
    pairs = zip(a.split(width, 1), b.split(width, 1), strict=True)
    return torch.stack([torch.bmm(x.unsqueeze(1), y.unsqueeze(2)).view(-1) for x, y in pairs]).sum(0)


def stats_of(folded: Folded) -> RowStats:
    """log p(y) = z_y - log Σ exp z and H = log Σ exp(z - m) - Σ p (z - m), from the sums."""
    log_total, mean = folded.total.log(), folded.moment / folded.total
    return RowStats(
        logprobs=folded.target - log_total,
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


def gradient_(
    logits: Tensor,
    exponentials: Tensor,
    targets: Tensor,
    log_total: Tensor,
    entropy: Tensor,
    by_logprob: Tensor,
    by_entropy: Tensor | None,
) -> Tensor:
    """∂L/∂z [n, V] of rows folded by ``fold_``, in the memory of one of the two.

    With g = ∂L/∂log p(y) and h = ∂L/∂H [n]: g·(1[j = y] - p_j) - h·p_j·(log p_j + H).
    ``log_total``: log Σ exp(z - peak) over the whole vocabulary. ``by_entropy`` None: h = 0.
    """
    inverse = torch.exp(-log_total)
    if by_entropy is None:
        gradient = exponentials.mul_((-by_logprob * inverse).unsqueeze(1))
    else:
        slope = (-by_entropy * inverse).unsqueeze(1)
        level = (-(by_logprob + by_entropy * (entropy - log_total)) * inverse).unsqueeze(1)
        gradient = torch.addcmul(level, logits, slope, out=logits).mul_(exponentials)
    held = targets >= 0
    added = torch.where(held, by_logprob, 0.0).unsqueeze(1)
    return gradient.scatter_add_(1, targets.clamp(min=0).unsqueeze(1), added)
