"""What a loss reports: tensors for each token and 0-d tensors for the batch. Nothing here syncs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor

    from .batch import TokenBatch
    from .covariance import Centred
    from .interfaces import Terms

PREFIX = "entropylab/"


def token_tensors(batch: TokenBatch, terms: Terms, centred: Centred, selected: Tensor) -> dict[str, Tensor]:
    """The detached [B, T] tensors that the log keeps; NaN or False outside the valid tokens.

    ``covariance``: what the choice was made on; ``selected``: chosen by a control; ``ratio``: π/π_old;
    ``clipped``: the ratio clip is active; ``weight``: factor on the token's policy gradient, 0 where it was
    clipped or dropped and 1 elsewhere.
    """
    clipped = torch.zeros_like(selected) if terms.clipped is None else terms.clipped
    stopped = clipped if terms.dropped is None else clipped | terms.dropped
    weight = stopped.logical_not().to(batch.ratio.dtype)
    return {
        "covariance": centred.covariance.masked_fill(batch.invalid, torch.nan),
        "selected": selected,
        "ratio": batch.ratio.detach().masked_fill(batch.invalid, torch.nan),
        "clipped": clipped,
        "weight": weight.masked_fill_(batch.invalid, torch.nan),
    }


def batch_metrics(batch: TokenBatch, terms: Terms, centred: Centred, selected: Tensor) -> dict[str, Tensor]:
    """0-d tensors by name; all are 0 where the batch has no valid token.

    k1 = mean(-D) and k3 = mean(exp(D) - 1 - D), D = log π/π_old, estimate D(π_old ‖ π).
    """
    log_ratio, ratio = batch.log_ratio.detach(), batch.ratio.detach()
    k1, k3 = -batch.mean(log_ratio), batch.mean(ratio.sub(log_ratio).sub_(1.0))
    some = batch.count > 0
    chosen = selected.sum()
    n_tokens = batch.count.clamp(min=1)
    clipped = torch.zeros_like(chosen) if terms.clipped is None else terms.clipped.sum()
    metrics = {
        "cov/mean": batch.mean(centred.covariance),
        "selected/count": chosen,
        "selected/fraction": chosen / n_tokens,
        "selected/cov_mean": torch.where(selected, centred.covariance, 0.0).sum() / chosen.clamp(min=1),
        "clipped/fraction": clipped / n_tokens,
        "ratio/mean": torch.where(some, 1.0 + k3 - k1, 0.0),
        "ratio/max": torch.where(some, _largest_ratio(batch), 0.0),
        "kl/k1": k1,
        "kl/k3": k3,
        "nonfinite": sum(terms.nonfinite, start=batch.nonfinite),
        **_quadrants(centred, selected, chosen),
    }
    return {PREFIX + name: value for name, value in metrics.items()}


def _largest_ratio(batch: TokenBatch) -> Tensor:
    ratio = batch.ratio.detach()
    return ratio.masked_fill(batch.invalid, 0.0).max() if ratio.numel() else ratio.sum()


def _quadrants(centred: Centred, selected: Tensor, chosen: Tensor) -> dict[str, Tensor]:
    """Chosen tokens by logprob (high: above its mean) and advantage (above or below its mean)."""
    high = selected & (centred.logprob > 0)
    above = selected & (centred.advantage > 0)
    n_high, n_above, n_both = high.sum(), above.sum(), (high & above).sum()
    return {
        "selected/high_above": n_both,
        "selected/high_below": n_high - n_both,
        "selected/low_above": n_above - n_both,
        "selected/low_below": chosen - n_high - n_above + n_both,
    }
