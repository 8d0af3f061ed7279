"""The first pass over the tokens: all that needs no statistics of the whole set.

It goes by blocks of responses and keeps only what the loss hands on; other tensors live for one block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .backend import torch
from .batch import TokenBatch, compute_dtype, make_batch
from .blocks import Collector, row_blocks
from .covariance import moments
from .masking import count_of, nan_outside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from .interfaces import Surrogate, Terms

_N_MOMENTS = 5


@dataclass(frozen=True)
class Survey:
    """What the first pass keeps of a token set."""

    inputs: Mapping[str, Any]
    """By name, in the compute dtype, with sample ids; ``logprobs`` with its gradient."""
    ratio: Tensor
    """[B, T]: π/π_old; NaN outside the valid tokens."""
    clipped: Tensor | None
    """Bool [B, T]: the ratio clip is active; None where the surrogate has none."""
    lengths: Tensor
    """int64 [B]: valid tokens of each response."""
    moments: Tensor
    """int64 [5], of ``covariance.moments``."""
    nonfinite: Tensor
    """0-d int64: tokens inside the mask with a non-finite input."""
    totals: Mapping[str, Tensor]
    """Sums over the valid tokens, 0-d fp64: log_ratio, k3, clipped; and ratio_max."""
    per_response: Tensor | None = None
    """fp64 [B]: the summed loss of each response; None where no loss was asked for."""
    slope: Tensor | None = None
    """[B, T]: the derivative of the loss of each token with respect to its logprob."""
    weight: Tensor | None = None
    """[B, T]: factor on the token's policy gradient; NaN outside the valid tokens."""

    @property
    def count(self) -> Tensor:
        """0-d int64: valid tokens."""
        return self.moments[0]

    @property
    def sample_ids(self) -> Tensor:
        """int64 [B]."""
        return self.inputs["sample_ids"]


def survey(
    inputs: dict[str, Any], surrogate: Surrogate, *, covariance_on: str, with_loss: bool = True
) -> Survey:
    """The first pass over checked ``inputs`` by name."""
    return _surveyed(_converted(inputs), surrogate, covariance_on, with_loss)


@torch.no_grad()
def _surveyed(inputs: dict[str, Any], surrogate: Surrogate, covariance_on: str, with_loss: bool) -> Survey:
    whole = surrogate.scope == "batch"
    blocks = [slice(None)] if whole else row_blocks(inputs["logprobs"])
    collector, sums, numbers, largest = Collector(len(inputs["logprobs"]), len(blocks)), [], [], []
    for rows in blocks:
        batch = make_batch(**{name: _rows_of(value, rows) for name, value in inputs.items()})
        terms = surrogate.terms(batch)
        n_clipped = _put(collector, rows, batch, terms, with_loss)
        sums.append(torch.cat([moments(batch, covariance_on), batch.nonfinite.view(1), n_clipped.view(1)]))
        numbers.append(torch.stack([batch.log_ratio.sum(), (batch.ratio - batch.log_ratio).sub_(1.0).sum()]))
        largest.append(largest_ratio(batch))
    total, (log_ratio, k3) = torch.stack(sums).sum(0), torch.stack(numbers).sum(0, dtype=torch.float64)
    totals = {"log_ratio": log_ratio, "k3": k3, "clipped": total[6], "ratio_max": torch.stack(largest).amax()}
    kept = {"clipped": None, **collector.whole}
    return Survey(inputs, moments=total[:_N_MOMENTS], nonfinite=total[_N_MOMENTS], totals=totals, **kept)


def _converted(inputs: dict[str, Any]) -> dict[str, Any]:
    """In the compute dtype, and with sample ids."""
    logprobs = inputs["logprobs"]
    dtype, ids = compute_dtype(logprobs), inputs.get("sample_ids")
    if ids is None:
        ids = torch.arange(len(logprobs), device=logprobs.device)
    floats = ("logprobs", "old_logprobs", "advantages", "ref_logprobs", "entropy")
    return {**{name: x.to(dtype) if name in floats else x for name, x in inputs.items()}, "sample_ids": ids}


def largest_ratio(batch: TokenBatch) -> Tensor:
    """0-d; 0 where there is no valid token."""
    return (batch.ratio * batch.inside).amax() if batch.ratio.numel() else batch.ratio.sum()


def _put(collector: Collector, rows: slice, batch: TokenBatch, terms: Terms, with_loss: bool) -> Tensor:
    """Hand over what is kept of a block; returns how many tokens were clipped."""
    outside = nan_outside(batch.inside)
    parts = {"ratio": batch.ratio + outside, "lengths": batch.lengths}
    if with_loss:
        parts["per_response"] = terms.value.sum(1, dtype=torch.float64)
        parts["slope"] = terms.slope
        parts["weight"] = terms.weight + outside
    n_clipped = torch.zeros_like(batch.count)
    if terms.unclipped is not None:
        parts["clipped"] = terms.unclipped == 0
        n_clipped = n_clipped + terms.unclipped.numel() - count_of(terms.unclipped)
    collector.put(rows, parts)
    return n_clipped


def _rows_of(value: Any, rows: slice) -> Any:
    return value.detach()[rows] if isinstance(value, torch.Tensor) else value
