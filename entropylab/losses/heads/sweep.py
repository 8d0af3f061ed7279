"""One pass over hidden states in chunks: statistics of every row, and on request their gradients at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..backend import torch
from .autocast import without_autocast
from .gradient import HeadGradient
from .head import Head
from .row_kernels import RowKernels, row_kernels
from .rows import RowSlopes, RowStats, joined, stats_of

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
    Memory: that of the row kernels for one chunk.
    """
    at_once = head.chunk_rows
    kernels = row_kernels(head, states.device)
    memory = kernels.memory(head, min(at_once, len(rows)), states.device)
    found = []
    for start in range(0, max(len(rows), 1), at_once):
        place = slice(start, start + at_once)
        chunk = _folded(kernels, head, states, tokens, rows[place], memory, top=top, varentropy=varentropy)
        if kept is not None:
            kernels.write_exponentials(head, chunk.memory, kept.exponentials[place], chunk.peak)
            kept.log_total[place] = chunk.log_total
        if coefficients is not None and gradient is not None:
            _add_gradient(kernels, head, gradient, chunk, *coefficients(place, chunk.stats))
        found.append(chunk.stats)
    return joined(found)


@dataclass(frozen=True)
class _Chunk:
    """Some rows after the fold."""

    rows: Tensor
    states: Tensor
    """[n, d], as factors."""
    targets: Tensor
    memory: tuple[Tensor, ...]
    """Of the row kernels, [n, V]."""
    peak: Tensor
    """[n], of the logits held here."""
    log_total: Tensor
    """[n]: log Σ exp(z - peak) over the whole vocabulary."""
    stats: RowStats


def _folded(
    kernels: RowKernels,
    head: Head,
    states: Tensor,
    tokens: Tensor,
    rows: Tensor,
    memory: tuple[Tensor, ...],
    *,
    top: bool,
    varentropy: bool,
) -> _Chunk:
    factors, chosen = states[rows].to(head.weight.dtype), tokens[rows]
    memory = tuple(one[: len(rows)] for one in memory)
    targets = head.columns(chosen)
    local = kernels.fold_(head, memory, factors, targets, top=top, second=varentropy)
    folded = local if head.shard is None else head.shard.merged(local, targets >= 0)
    log_total = folded.total.log() + (folded.peak - local.peak)
    stats = stats_of(folded)
    inside = (chosen >= 0) & (chosen < head.total)
    stats = replace(stats, logprobs=torch.where(inside, stats.logprobs, torch.nan))
    return _Chunk(rows, factors, targets, memory, local.peak, log_total, stats)


def _add_gradient(
    kernels: RowKernels,
    head: Head,
    gradient: HeadGradient,
    chunk: _Chunk,
    by_logprob: Tensor,
    by_entropy: Tensor | None,
) -> None:
    """Add what the rows of a chunk give; overwrites its memory."""
    slopes = RowSlopes(chunk.targets, chunk.stats.entropy, by_logprob, by_entropy)
    found = kernels.gradient_(head, chunk.memory, chunk.peak, chunk.log_total, slopes)
    gradient.add_(head, chunk.rows, chunk.states, found)
