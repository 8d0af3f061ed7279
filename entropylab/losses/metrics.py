"""What a loss reports: tensors for each token and 0-d tensors for the batch. Nothing here syncs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch
from .blocks import row_blocks
from .masking import above, count_of, nan_outside

if TYPE_CHECKING:
    from torch import Tensor

    from .batch import TokenBatch
    from .covariance import Centred
    from .interfaces import Terms
    from .passes import Ranked

PREFIX = "entropylab/"


@torch.no_grad()
def batch_metrics(
    batch: TokenBatch, terms: Terms, ranked: Ranked, at_chosen: TokenBatch, centred: Centred
) -> dict[str, Tensor]:
    """0-d tensors by name; all are 0 where the batch has no valid token.

    ``at_chosen`` [k, 1] and ``centred`` are those of the chosen tokens; ``selected/candidates``, the tokens
    that might have been chosen, is there where the choice was made in this batch.
    k1 = mean(-D) and k3 = mean(exp(D) - 1 - D), D = log π/π_old, estimate D(π_old ‖ π).
    """
    totals, mask = _totals(batch, terms, ranked.covariance), at_chosen.inside
    n_tokens, chosen = batch.count.clamp(min=1), count_of(mask)
    mean = {name: totals[name] / n_tokens for name in ("log_ratio", "k3", "covariance", "clipped")}
    inside = (batch.count > 0).to(mean["k3"].dtype)
    metrics = {
        "cov/mean": mean["covariance"],
        "selected/count": chosen,
        "selected/fraction": chosen.double() / n_tokens,
        **_at_chosen(at_chosen, centred, chosen, totals["positive"]),
        "clipped/fraction": mean["clipped"],
        "ratio/mean": inside * (1.0 + mean["k3"] + mean["log_ratio"]),
        "ratio/max": totals["ratio_max"],
        "kl/k1": -mean["log_ratio"],
        "kl/k3": mean["k3"],
        "nonfinite": sum(terms.nonfinite, start=batch.nonfinite),
        **_quadrants(centred, mask, chosen),
        **({"selected/candidates": torch.stack(ranked.candidates).sum()} if ranked.candidates else {}),
        **terms.reports,
    }
    return {PREFIX + name: value for name, value in metrics.items()}


@torch.no_grad()
def token_tensors(batch: TokenBatch, terms: Terms, covariance: Tensor, selected: Tensor) -> dict[str, Tensor]:
    """The detached [B, T] tensors that the log keeps; NaN or False outside the valid tokens.

    Call it last: it overwrites the ratio of ``batch``, the weight of ``terms`` and ``covariance``.

    ``covariance``: what the choice was made on; ``selected``: chosen by a control (bool [B, T]); ``ratio``:
    π/π_old; ``clipped``: the ratio clip is active; ``weight``: factor on the token's policy gradient, 0 where
    it was clipped or dropped and 1 elsewhere.
    """
    clipped = torch.zeros_like(selected)
    for rows in row_blocks(batch.inside):
        outside = nan_outside(batch.inside[rows])
        for values in (covariance, batch.ratio, terms.weight):
            values[rows].add_(outside)
        if terms.unclipped is not None:
            torch.eq(terms.unclipped[rows], 0.0, out=clipped[rows])
    return {
        "covariance": covariance,
        "selected": selected,
        "ratio": batch.ratio,
        "clipped": clipped,
        "weight": terms.weight,
    }


def _totals(batch: TokenBatch, terms: Terms, covariance: Tensor) -> dict[str, Tensor]:
    """Sums over the valid tokens, fp64, and the largest ratio."""
    sums, largest = [], []
    for rows in row_blocks(batch.inside):
        log_ratio, ratio = batch.log_ratio[rows], batch.ratio[rows]
        free = (
            log_ratio.new_tensor(0.0)
            if terms.unclipped is None
            else ratio.numel() - terms.unclipped[rows].sum()
        )
        sums.append(
            torch.stack(
                [
                    log_ratio.sum(),
                    ratio.sub(log_ratio).sub_(1.0).sum(),
                    covariance[rows].sum(),
                    covariance[rows].clamp(min=0.0).sum(),
                    free,
                ]
            )
        )
        largest.append((ratio * batch.inside[rows]).amax() if ratio.numel() else ratio.sum())
    names = ("log_ratio", "k3", "covariance", "positive", "clipped")
    total = torch.stack(sums).sum(0, dtype=torch.float64)
    return dict(zip(names, total, strict=True)) | {"ratio_max": torch.stack(largest).amax()}


def _at_chosen(chosen: TokenBatch, centred: Centred, count: Tensor, positive: Tensor) -> dict[str, Tensor]:
    """Means over the chosen tokens, and their share of the sum of all positive covariances."""
    mask, n_chosen = chosen.inside.double(), count.clamp(min=1)
    log_ratio = chosen.log_ratio.double()
    held = (mask * centred.covariance.clamp(min=0.0)).sum()
    return {
        "selected/cov_mean": (mask * centred.covariance).sum() / n_chosen,
        "selected/positive_mass_share": held / torch.where(positive > 0, positive, 1.0),
        "selected/kl_k3": (mask * (torch.expm1(log_ratio) - log_ratio)).sum() / n_chosen,
        "selected/abs_log_ratio": (mask * log_ratio.abs()).sum() / n_chosen,
    }


def _quadrants(at_chosen: Centred, mask: Tensor, chosen: Tensor) -> dict[str, Tensor]:
    """Chosen tokens by logprob (high: above its mean) and advantage (above or below its mean)."""
    high = above(mask, at_chosen.logprob, 0.0)
    n_high, n_both = count_of(high), count_of(above(high, at_chosen.advantage, 0.0))
    n_above = count_of(above(mask, at_chosen.advantage, 0.0))
    return {
        "selected/high_above": n_both,
        "selected/high_below": n_high - n_both,
        "selected/low_above": n_above - n_both,
        "selected/low_below": chosen - n_high - n_above + n_both,
    }
