"""What a loss reports: tensors for each token and 0-d tensors for the batch. Nothing here syncs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch
from .masking import above, count_of, nan_outside

if TYPE_CHECKING:
    from torch import Tensor

    from .batch import TokenBatch
    from .covariance import Centred
    from .interfaces import Terms

PREFIX = "entropylab/"


def token_tensors(batch: TokenBatch, terms: Terms, centred: Centred, selected: Tensor) -> dict[str, Tensor]:
    """The detached [B, T] tensors that the log keeps; NaN or False outside the valid tokens.

    Call it last: it overwrites the ratio of ``batch`` and the covariance of ``centred``.

    ``covariance``: what the choice was made on; ``selected``: chosen by a control; ``ratio``: π/π_old;
    ``clipped``: the ratio clip is active; ``weight``: factor on the token's policy gradient, 0 where it was
    clipped or dropped and 1 elsewhere.
    """
    outside = nan_outside(batch.inside)
    unclipped = torch.ones_like(outside) if terms.unclipped is None else terms.unclipped
    return {
        "covariance": centred.covariance.add_(outside),
        "selected": selected.bool(),
        "ratio": batch.ratio.add_(outside),
        "clipped": unclipped.bool().logical_not_(),
        "weight": terms.weight + outside,
    }


def batch_metrics(batch: TokenBatch, terms: Terms, centred: Centred, selected: Tensor) -> dict[str, Tensor]:
    """0-d tensors by name; all are 0 where the batch has no valid token.

    k1 = mean(-D) and k3 = mean(exp(D) - 1 - D), D = log π/π_old, estimate D(π_old ‖ π).
    """
    log_ratio, ratio = batch.log_ratio, batch.ratio
    k1, k3 = -batch.mean(log_ratio), batch.mean(ratio.sub(log_ratio).sub_(1.0))
    inside = (batch.count > 0).to(ratio.dtype)
    n_tokens, chosen = batch.count.clamp(min=1), count_of(selected)
    free = None if terms.unclipped is None else count_of(terms.unclipped)
    clipped = torch.zeros_like(chosen) if free is None else ratio.numel() - free
    metrics = {
        "cov/mean": batch.mean(centred.covariance),
        "selected/count": chosen,
        "selected/fraction": chosen.double() / n_tokens,
        "selected/cov_mean": torch.dot(selected.flatten(), centred.covariance.flatten())
        / chosen.clamp(min=1),
        "clipped/fraction": clipped.double() / n_tokens,
        "ratio/mean": inside * (1.0 + k3 - k1),
        "ratio/max": (ratio * batch.inside).amax() if ratio.numel() else ratio.sum(),
        "kl/k1": k1,
        "kl/k3": k3,
        "nonfinite": sum(terms.nonfinite, start=batch.nonfinite),
        **_quadrants(centred, selected, chosen),
        **terms.reports,
    }
    return {PREFIX + name: value for name, value in metrics.items()}


def _quadrants(centred: Centred, selected: Tensor, chosen: Tensor) -> dict[str, Tensor]:
    """Chosen tokens by logprob (high: above its mean) and advantage (above or below its mean)."""
    high = above(selected, centred.logprob, 0.0)
    n_high, n_both = count_of(high), count_of(above(high, centred.advantage, 0.0))
    n_above = count_of(above(selected, centred.advantage, 0.0))
    return {
        "selected/high_above": n_both,
        "selected/high_below": n_high - n_both,
        "selected/low_above": n_above - n_both,
        "selected/low_below": chosen - n_high - n_above + n_both,
    }


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return torch.dot(first.flatten(), second.flatten())
