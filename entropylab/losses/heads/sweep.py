"""One pass over hidden states in chunks: statistics of every row, and on request their gradients at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..backend import torch
from .autocast import without_autocast
from .gradient import HeadGradient, is_active
from .head import Head
from .rows import RowStats, fold_, gradient_, joined, stats_of

if TYPE_CHECKING:
    from torch import Tensor

    from .kept import Kept

Coefficients = Callable[[slice, RowStats], "tuple[Tensor, Tensor | None]"]
"""From the places of a chunk among the rows and its statistics to ∂L/∂log p(y) and ∂L/∂H [n]; None: 0."""


@torch.no_grad()
@without_autocast
def sweep(
    head: Head,
    states: Tensor,
    tokens: Tensor,
    rows: Tensor,
    *,
    coefficients: Coefficients | None = None,
    gradient: HeadGradient | None = None,
    kept: Kept | None = None,
    top: bool = False,
    varentropy: bool = False,
) -> RowStats:
    """Statistics [n] of ``rows`` int64 [n] of ``states`` [N, d] with ``tokens`` [N]; gradients are added up.

    NaN where a token is outside the vocabulary. What is ``kept`` is written where given.
    Memory: two buffers of [chunk, V].
    """
    at_once = head.chunk_rows
    buffers = [
        torch.empty((min(at_once, len(rows)), head.size), dtype=head.wide, device=states.device)
        for _ in range(2)
    ]
    found = []
    for start in range(0, max(len(rows), 1), at_once):
        place = slice(start, start + at_once)
        chunk = _folded(head, states, tokens, rows[place], buffers, top=top, varentropy=varentropy)
        if kept is not None:
            kept.put(place, chunk.exponentials, -chunk.log_total)
        if coefficients is not None and gradient is not None:
            _add_gradient(head, gradient, chunk, *coefficients(place, chunk.stats))
        found.append(chunk.stats)
    return joined(found)


@dataclass(frozen=True)
class _Chunk:
    """Some rows after the fold."""

    rows: Tensor
    states: Tensor
    """[n, d], as factors."""
    targets: Tensor
    logits: Tensor
    """z - peak, [n, V]."""
    exponentials: Tensor
    peak: Tensor
    """[n], of the logits held here."""
    log_total: Tensor
    """[n]: log Σ exp(z - peak) over the whole vocabulary, which a large peak would round."""
    stats: RowStats


def _folded(
    head: Head,
    states: Tensor,
    tokens: Tensor,
    rows: Tensor,
    buffers: list[Tensor],
    *,
    top: bool,
    varentropy: bool,
) -> _Chunk:
    factors, chosen = states[rows].to(head.weight.dtype), tokens[rows]
    logits, exponentials = (buffer[: len(rows)] for buffer in buffers)
    targets = head.columns(chosen)
    local = fold_(head.logits_(logits, factors), exponentials, targets, top=top, second=varentropy)
    folded = local if head.shard is None else head.shard.merged(local, targets >= 0)
    stats = stats_of(folded)
    inside = (chosen >= 0) & (chosen < head.total)
    stats = replace(stats, logprobs=torch.where(inside, stats.logprobs, torch.nan))
    log_total = folded.total.log() + (folded.peak - local.peak)
    return _Chunk(rows, factors, targets, logits, exponentials, local.peak, log_total, stats)


def _add_gradient(
    head: Head, gradient: HeadGradient, chunk: _Chunk, by_logprob: Tensor, by_entropy: Tensor | None
) -> None:
    """Add what the rows of a chunk give; overwrites its buffers."""
    slope = head.cap_slope(chunk.logits, chunk.peak)
    by_logits = gradient_(
        chunk.logits,
        chunk.exponentials,
        chunk.targets,
        chunk.log_total,
        chunk.stats.entropy,
        by_logprob / head.temperature,
        None if by_entropy is None else by_entropy / head.temperature,
    )
    if slope is not None:
        by_logits.mul_(slope)
    gradient.add_(head, chunk.rows, chunk.states, by_logits, is_active(by_logprob, by_entropy))
