"""The first pass over the tokens: all that needs no statistics of the whole set.

It goes by blocks of responses and keeps only what the later passes need; other tensors live for one block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .backend import torch
from .batch import TokenBatch, compute_dtype, make_batch, valid_of
from .blocks import Collector, row_blocks
from .covariance import join_moments, row_moments
from .totals import Totals, add_totals, totals_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from .interfaces import Surrogate

_FLOATS = ("logprobs", "old_logprobs", "advantages", "ref_logprobs", "entropy")
_LOOKED_AT = (*_FLOATS, "mask")


@dataclass(frozen=True)
class TokenLosses:
    """The loss before any control."""

    per_response: Tensor
    """fp64 [B]: the summed loss of each response."""
    slope: Tensor
    """[B, T]: the derivative of the loss of each token with respect to its logprob."""
    unclipped: Tensor | None
    """Bool [B, T]: the ratio clip is not active; None where the surrogate has none."""
    totals: Totals


@dataclass(frozen=True)
class Survey:
    """What the first pass keeps of a token set."""

    inputs: Mapping[str, Any]
    """By name, in the compute dtype, with sample ids; ``logprobs`` with its gradient."""
    surrogate: Surrogate
    inside: Tensor
    """Bool [B, T]: the valid tokens."""
    lengths: Tensor
    """int64 [B]: valid tokens of each response."""
    moments: Tensor
    """int64 [7], of ``covariance.join_moments``."""
    nonfinite: Tensor
    """0-d int64: tokens inside the mask with a non-finite input."""
    losses: TokenLosses | None = None
    """None where no loss was asked for."""
    numbered: bool = False
    """No sample ids were given: the responses are numbered."""

    @property
    def count(self) -> Tensor:
        """0-d int64: valid tokens."""
        return self.moments[0]

    @property
    def sample_ids(self) -> Tensor:
        """int64 [B]."""
        return self.inputs["sample_ids"]

    @property
    def ids_to_sort_by(self) -> Tensor | None:
        """int64 [B]; None where the responses are in order as they are."""
        return None if self.numbered else self.sample_ids

    @property
    def shape(self) -> torch.Size:
        """[B, T]."""
        return self.inside.shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the computation."""
        return self.inputs["logprobs"].dtype

    def blocks(self) -> list[slice]:
        """Rows of each block; one block where the surrogate looks at the whole batch."""
        whole = self.surrogate.scope == "batch"
        return [slice(0, len(self.inside))] if whole else row_blocks(self.shape, self.inside.device)

    def block(self, rows: slice) -> TokenBatch:
        """The tokens of a block, without gradient."""
        return make_batch(**_part_of(self.inputs, rows))


@torch.no_grad()
def unclipped_of(found: Survey) -> Tensor | None:
    """Bool [B, T]: the surrogate's ratio clip is not active; None where it has none."""
    if found.losses is not None:
        return found.losses.unclipped
    blocks = found.blocks()
    collector = Collector(len(found.inside), len(blocks))
    for rows in blocks:
        _put_unclipped(collector, rows, found.surrogate.terms(found.block(rows)).unclipped)
    return collector.whole.get("unclipped")


def survey(
    inputs: dict[str, Any], surrogate: Surrogate, *, covariance_on: str, with_loss: bool = True
) -> Survey:
    """The first pass over checked ``inputs`` by name."""
    found = _surveyed(_converted(inputs), surrogate, covariance_on, with_loss)
    return replace(found, numbered=inputs.get("sample_ids") is None)


@torch.no_grad()
def _surveyed(inputs: dict[str, Any], surrogate: Surrogate, covariance_on: str, with_loss: bool) -> Survey:
    logprobs = inputs["logprobs"]
    blocks = row_blocks(logprobs.shape, logprobs.device)
    collector = Collector(len(logprobs), len(blocks))
    parts, totals = [], []
    for rows in blocks:
        part = _part_of(inputs, rows)
        valid = valid_of(**{name: value for name, value in part.items() if name in _LOOKED_AT})
        collector.put("inside", rows, valid.inside, torch.bool)
        centred_on = part["logprobs" if covariance_on == "current" else "old_logprobs"]
        parts.append((row_moments(valid, centred_on, part["advantages"]), valid.nonfinite))
        if with_loss:
            totals.append(_put_losses(collector, rows, make_batch(**part, valid=valid), surrogate))
    moments, nonfinite = zip(*parts, strict=True)
    whole, losses = collector.whole, None
    if with_loss:
        free = whole.get("unclipped")
        losses = TokenLosses(whole["per_response"], whole["slope"], free, add_totals(totals))
    lengths = torch.cat([part.lengths for part in moments])
    bad = torch.stack(nonfinite).sum()
    return Survey(inputs, surrogate, whole["inside"], lengths, join_moments(moments), bad, losses)


def _put_losses(collector: Collector, rows: slice, batch: TokenBatch, surrogate: Surrogate) -> Totals:
    """Hand over what is kept of a block; the memory of all else is free for the next one, and in cache."""
    terms = surrogate.terms(batch)
    collector.put("per_response", rows, terms.value.sum(1, dtype=torch.float64))
    collector.put("slope", rows, terms.slope)
    _put_unclipped(collector, rows, terms.unclipped)
    return totals_of(batch, terms.unclipped)


def _put_unclipped(collector: Collector, rows: slice, unclipped: Tensor | None) -> None:
    if unclipped is not None:
        collector.put("unclipped", rows, unclipped, torch.bool)


def _converted(inputs: dict[str, Any]) -> dict[str, Any]:
    """In the compute dtype, and with sample ids."""
    logprobs = inputs["logprobs"]
    dtype, ids = compute_dtype(logprobs), inputs.get("sample_ids")
    if ids is None:
        ids = torch.arange(len(logprobs), device=logprobs.device)
    return {**{name: x.to(dtype) if name in _FLOATS else x for name, x in inputs.items()}, "sample_ids": ids}


def _part_of(inputs: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    """The inputs of a block, without gradient."""
    tensors = torch.Tensor
    return {n: x.detach()[rows] if isinstance(x, tensors) else x for n, x in inputs.items()}
