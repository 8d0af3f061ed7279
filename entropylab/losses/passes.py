"""The two passes over all tokens: what needs no statistics, and what is centred at the means.

Both go by blocks of responses; the results are the same tensors as of one block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .backend import torch
from .batch import TokenBatch, compute_dtype, make_batch
from .blocks import Collector, row_blocks, rows_of
from .covariance import Means, centre, moments
from .interfaces import Terms
from .masking import above, count_of

if TYPE_CHECKING:
    from torch import Tensor

    from .interfaces import SelectingControl, Surrogate

_LOWEST = -1e30
"""Below every key of a token that may be chosen."""
_SAFE = ("log_ratio", "ratio", "signal", "inside", "lengths")
_TERMS = ("value", "slope", "weight", "unclipped")


@dataclass(frozen=True)
class Prepared:
    """A token set, its loss before any control, and its moments."""

    batch: TokenBatch
    terms: Terms
    moments: Tensor
    """int64 [5], of ``covariance.moments``."""


@dataclass(frozen=True)
class Ranked:
    """Covariances, and a key for each control that chooses."""

    covariance: Tensor
    """[B, T]; 0 outside the valid tokens."""
    keys: tuple[Tensor, ...]
    """[B, T] each."""
    candidates: tuple[Tensor, ...]
    """0-d int64 each: how many tokens the control may choose."""


def prepare(
    inputs: dict[str, Any], surrogate: Surrogate, *, covariance_on: str, seed: int, step: int
) -> Prepared:
    """The safe token set, the terms of the surrogate and the moments, from checked ``inputs`` by name."""
    inputs = _converted(inputs)
    blocks = row_blocks(inputs["logprobs"]) if getattr(surrogate, "by_response", False) else []
    if len(blocks) > 1:
        return _prepared_by_blocks(inputs, surrogate, blocks, covariance_on, seed, step)
    batch = make_batch(**inputs, seed=seed, step=step)
    with torch.no_grad():
        terms = surrogate.terms(batch)
    return Prepared(batch, _owned(terms, batch), moments(batch, covariance_on))


@torch.no_grad()
def rank(
    batch: TokenBatch,
    unclipped: Tensor | None,
    means: Means,
    covariance_on: str,
    controls: tuple[SelectingControl, ...],
) -> Ranked:
    """The covariance of each token and the key of each control."""
    collector, n_rows = Collector(len(batch.inside)), len(batch.inside)
    blocks, candidates = row_blocks(batch.inside), []
    for rows in blocks:
        piece = batch if len(blocks) == 1 else rows_of(batch, rows, n_rows)
        centred = centre(piece, means, covariance_on)
        free = None if unclipped is None else unclipped[rows]
        keys = {str(i): one.key(piece, centred, free) for i, one in enumerate(controls)}
        candidates.append([count_of(above(piece.inside, key, _LOWEST)) for key in keys.values()])
        collector.put(rows, covariance=centred.covariance, **keys)
    whole = collector.whole()
    counts = tuple(torch.stack(counts).sum(0) for counts in zip(*candidates, strict=True))
    return Ranked(whole["covariance"], tuple(whole[str(i)] for i in range(len(controls))), counts)


def _prepared_by_blocks(
    inputs: dict[str, Any],
    surrogate: Surrogate,
    blocks: list[slice],
    covariance_on: str,
    seed: int,
    step: int,
) -> Prepared:
    collector, sums = Collector(len(inputs["logprobs"])), []
    detached = {name: x.detach() if isinstance(x, torch.Tensor) else x for name, x in inputs.items()}
    for rows in blocks:
        part = {name: x[rows] if isinstance(x, torch.Tensor) else x for name, x in detached.items()}
        piece = make_batch(**part, seed=seed, step=step)
        terms = surrogate.terms(piece)
        sums.append(torch.cat([moments(piece, covariance_on), piece.nonfinite.view(1)]))
        tensors = {name: getattr(terms, name) for name in _TERMS}
        collector.put(
            rows,
            **{name: getattr(piece, name) for name in _SAFE},
            **{name: x for name, x in tensors.items() if x is not None},
        )
    whole, total = collector.whole(), torch.stack(sums).sum(0)
    terms = Terms(**{name: whole.get(name) for name in _TERMS})
    safe = {name: whole[name] for name in _SAFE}
    return Prepared(_joined(piece, inputs, safe, total), terms, total[:5])


def _joined(piece: TokenBatch, inputs: dict[str, Any], safe: dict[str, Tensor], total: Tensor) -> TokenBatch:
    """The whole token set, from its last block and what was collected of all."""
    advantages = inputs["advantages"]
    shared = torch.nan_to_num(advantages, 0.0, 0.0, 0.0).unsqueeze(1) if advantages.dim() == 1 else None
    given = {name: inputs.get(name) for name in ("old_logprobs", "ref_logprobs", "entropy", "sample_ids")}
    return replace(
        piece,
        source=inputs["logprobs"],
        response_advantages=shared,
        count=total[0],
        nonfinite=total[5],
        **given,
        **safe,
    )


def _converted(inputs: dict[str, Any]) -> dict[str, Any]:
    """In the compute dtype, and with sample ids."""
    logprobs = inputs["logprobs"]
    dtype, ids = compute_dtype(logprobs), inputs.get("sample_ids")
    if ids is None:
        ids = torch.arange(len(logprobs), device=logprobs.device)
    floats = ("logprobs", "old_logprobs", "advantages", "ref_logprobs", "entropy")
    converted = {name: x.to(dtype) if name in floats else x for name, x in inputs.items()}
    return {**converted, "sample_ids": ids}


def _owned(terms: Terms, batch: TokenBatch) -> Terms:
    """The terms in tensors of their own, since those of chosen tokens are changed in place."""
    taken = [getattr(batch, name) for name in _SAFE]
    fresh: dict[str, Tensor] = {}
    for name in _TERMS:
        tensor = getattr(terms, name)
        if any(tensor is other for other in taken):
            tensor = fresh[name] = tensor.clone()
        taken.append(tensor)
    return replace(terms, **fresh)
