"""The first pass over the tokens: all that needs no statistics of the whole set.

It goes by blocks of responses and keeps only what the loss hands on; other tensors live for one block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .backend import torch
from .batch import TokenBatch, compute_dtype, make_batch
from .blocks import Collector, row_blocks
from .covariance import RowMoments, join_moments, row_moments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from .interfaces import Surrogate, Terms


_SUMMED = ("log_ratio", "k3", "clipped")


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
    """int64 [7], of ``covariance.join_moments``."""
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
    collector = Collector(len(inputs["logprobs"]), len(blocks))
    parts = [_survey_block(collector, rows, inputs, surrogate, covariance_on, with_loss) for rows in blocks]
    moments, nonfinite, sums, largest = zip(*parts, strict=True)
    kept = collector.whole
    totals = dict(zip(_SUMMED, torch.stack(sums).sum(0, dtype=torch.float64), strict=True))
    return Survey(
        inputs,
        lengths=torch.cat([part.lengths for part in moments]),
        moments=join_moments(moments),
        nonfinite=torch.stack(nonfinite).sum(),
        totals={**totals, "ratio_max": torch.stack(largest).amax()},
        ratio=kept["ratio"],
        clipped=kept.get("clipped"),
        per_response=kept.get("per_response"),
        slope=kept.get("slope"),
        weight=kept.get("weight"),
    )


def _survey_block(
    collector: Collector,
    rows: slice,
    inputs: dict[str, Any],
    surrogate: Surrogate,
    covariance_on: str,
    with_loss: bool,
) -> tuple[RowMoments, Tensor, Tensor, Tensor]:
    """The small results of a block; all else is free after it, so the next one finds its memory in cache."""
    batch = make_batch(**{name: _rows_of(value, rows) for name, value in inputs.items()})
    terms = surrogate.terms(batch)
    _put(collector, rows, batch, terms, with_loss)
    return row_moments(batch, covariance_on), batch.nonfinite, *_sums(batch, terms)


def _converted(inputs: dict[str, Any]) -> dict[str, Any]:
    """In the compute dtype, and with sample ids."""
    logprobs = inputs["logprobs"]
    dtype, ids = compute_dtype(logprobs), inputs.get("sample_ids")
    if ids is None:
        ids = torch.arange(len(logprobs), device=logprobs.device)
    floats = ("logprobs", "old_logprobs", "advantages", "ref_logprobs", "entropy")
    return {**{name: x.to(dtype) if name in floats else x for name, x in inputs.items()}, "sample_ids": ids}


def _sums(batch: TokenBatch, terms: Terms) -> tuple[Tensor, Tensor]:
    """Over the tokens of a block: Σ D, Σ (exp(D) - 1 - D) and how many are clipped; and the largest ratio."""
    ratio = batch.ratio * batch.inside
    largest = ratio.amax() if ratio.numel() else ratio.sum()
    clipped = torch.zeros_like(largest)
    if terms.unclipped is not None:
        clipped = terms.unclipped.numel() - terms.unclipped.sum()
    k3 = ratio.sub_(batch.log_ratio).sub_(batch.inside).sum()
    return torch.stack([batch.log_ratio.sum(), k3, clipped]), largest


def _put(collector: Collector, rows: slice, batch: TokenBatch, terms: Terms, with_loss: bool) -> None:
    """Hand over what is kept of a block."""
    valid = batch.inside / batch.inside
    collector.multiply("ratio", rows, batch.ratio, valid)
    if with_loss:
        collector.put("per_response", rows, terms.value.sum(1, dtype=torch.float64))
        collector.put("slope", rows, terms.slope)
        collector.multiply("weight", rows, terms.weight, valid)
    if terms.unclipped is not None:
        collector.put("clipped", rows, terms.unclipped.bool().logical_not_())


def _rows_of(value: Any, rows: slice) -> Any:
    return value.detach()[rows] if isinstance(value, torch.Tensor) else value
