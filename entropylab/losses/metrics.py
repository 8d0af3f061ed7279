"""The numbers that a loss reports beside itself.

They are made in few steps over short vectors: on a device each step is a launch, whatever its size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch
from .masking import above

if TYPE_CHECKING:
    from torch import Tensor

    from .batch import TokenBatch
    from .controlled import Controlled
    from .covariance import Centred
    from .ranking import Ranked
    from .survey import Survey

PREFIX = "entropylab/"
N_SUMS = 8


@torch.no_grad()
def batch_metrics(
    found: Survey,
    ranked: Ranked,
    controlled: Controlled,
    at_chosen: TokenBatch | None,
    centred: Centred | None,
) -> dict[str, Tensor]:
    """0-d tensors by name; all are 0 where the batch has no valid token.

    ``at_chosen`` [k, 1] and ``centred`` are those of the chosen tokens, if any; ``selected/candidates``, the
    tokens that might have been chosen, is there where the choice was made in this batch.
    k1 = mean(-D) and k3 = mean(exp(D) - 1 - D), D = log π/π_old, estimate D(π_old ‖ π).
    """
    if at_chosen is None or centred is None:
        sums = ranked.total.new_zeros(N_SUMS)
    else:
        sums = _sums_at(at_chosen, centred)
    totals, chosen = controlled.totals, sums[:4].long()
    of_batch = torch.stack([ranked.total, totals.log_ratio, totals.k3, totals.clipped.double(), sums[0]])
    covariance, log_ratio, k3, clipped, fraction = (of_batch / found.count.clamp(min=1)).unbind()
    n_chosen, n_high, n_above, n_both = chosen.unbind()
    metrics = {
        "cov/mean": covariance,
        "selected/count": n_chosen,
        "selected/fraction": fraction,
        **_means_at(sums, ranked.positive),
        "clipped/fraction": clipped,
        "ratio/mean": (found.count > 0) * (1.0 + k3 + log_ratio),
        "ratio/max": totals.ratio_max,
        "kl/k1": -log_ratio,
        "kl/k3": k3,
        "nonfinite": sum(controlled.nonfinite, start=found.nonfinite),
        "selected/high_above": n_both,
        "selected/high_below": n_high - n_both,
        "selected/low_above": n_above - n_both,
        "selected/low_below": n_chosen - n_high - n_above + n_both,
        **controlled.reports,
    }
    if ranked.candidates:
        metrics["selected/candidates"] = torch.stack(ranked.candidates).sum()
    return {PREFIX + name: value for name, value in metrics.items()}


def _sums_at(chosen: TokenBatch, centred: Centred) -> Tensor:
    """fp64 [N_SUMS]: counts of the chosen tokens, then sums over them.

    Counts: all, those of a logprob above its mean, of an advantage above its mean, of both. Sums: covariance,
    its positive part, exp(D) - 1 - D, and |D|.
    """
    mask = chosen.inside
    high, over = above(mask, centred.logprob, 0.0), above(mask, centred.advantage, 0.0)
    counts = torch.cat([mask, high, over, above(high, centred.advantage, 0.0)], 1)
    covariance, log_ratio = torch.cat([centred.covariance, chosen.log_ratio], 1).double().split(1, 1)
    k3 = torch.expm1(log_ratio) - log_ratio
    sums = torch.cat([covariance, covariance.clamp(min=0.0), k3, log_ratio.abs()], 1)
    return torch.cat([counts.sum(0, dtype=torch.float64), (mask * sums).sum(0)])


def _means_at(sums: Tensor, positive: Tensor) -> dict[str, Tensor]:
    """Means over the chosen tokens, and their share of the sum of all positive covariances."""
    covariance, _, k3, abs_log_ratio = (sums[4:] / sums[0].clamp(min=1.0)).unbind()
    return {
        "selected/cov_mean": covariance,
        "selected/positive_mass_share": sums[5] / torch.where(positive > 0, positive, 1.0),
        "selected/kl_k3": k3,
        "selected/abs_log_ratio": abs_log_ratio,
    }
