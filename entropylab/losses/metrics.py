"""What a loss reports of a batch, as 0-d tensors. Nothing here syncs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch
from .masking import above, count_of

if TYPE_CHECKING:
    from torch import Tensor

    from .batch import TokenBatch
    from .controlled import Controlled
    from .covariance import Centred
    from .ranking import Ranked
    from .survey import Survey

PREFIX = "entropylab/"


@torch.no_grad()
def batch_metrics(
    found: Survey, ranked: Ranked, controlled: Controlled, at_chosen: TokenBatch, centred: Centred
) -> dict[str, Tensor]:
    """0-d tensors by name; all are 0 where the batch has no valid token.

    ``at_chosen`` [k, 1] and ``centred`` are those of the chosen tokens; ``selected/candidates``, the tokens
    that might have been chosen, is there where the choice was made in this batch.
    k1 = mean(-D) and k3 = mean(exp(D) - 1 - D), D = log π/π_old, estimate D(π_old ‖ π).
    """
    n_tokens, mask = found.count.clamp(min=1), at_chosen.inside
    chosen = count_of(mask)
    totals = controlled.totals
    log_ratio, k3 = totals.log_ratio / n_tokens, totals.k3 / n_tokens
    metrics = {
        "cov/mean": ranked.total / n_tokens,
        "selected/count": chosen,
        "selected/fraction": chosen.double() / n_tokens,
        **_at_chosen(at_chosen, centred, chosen, ranked.positive),
        "clipped/fraction": totals.clipped / n_tokens,
        "ratio/mean": (found.count > 0).double() * (1.0 + k3 + log_ratio),
        "ratio/max": totals.ratio_max,
        "kl/k1": -log_ratio,
        "kl/k3": k3,
        "nonfinite": sum(controlled.nonfinite, start=found.nonfinite),
        **_quadrants(centred, mask, chosen),
        **controlled.reports,
    }
    if ranked.candidates:
        metrics["selected/candidates"] = torch.stack(ranked.candidates).sum()
    return {PREFIX + name: value for name, value in metrics.items()}


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
