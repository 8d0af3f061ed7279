"""Which tokens a control chooses: exact ranking on the device, without a host sync.

A control gives each token a key, NaN or -inf where it may not be chosen. The tokens of the highest keys are
chosen; equal keys go by (sample_id, position) ascending. ``numpy_selection`` holds the twin.

All sizes are static. Only one pass reads all keys: the maxima of units of 64 tokens. In the order (maximum
descending, place ascending), the first ``limit`` units hold every chosen token: a unit above the lowest
chosen key holds a chosen token of its own, and so does each unit at it that ties need. So the rest is work on
``limit`` units, then on as many parts of 8 tokens, then on tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch
from .blocks import Units
from .keys import UNIT, Keys, StoredKeys

if TYPE_CHECKING:
    from torch import Tensor

_PART = 8
"""Tokens of the parts that units are cut into where there are many."""
_MANY = 2**16
"""Tokens."""


def top_by_score(score: Tensor, eligible: Tensor, count: Tensor, limit: int, sample_ids: Tensor) -> Tensor:
    """The ``count`` eligible tokens of the highest ``score``, as 0/1 [B, T] like ``eligible``."""
    rows, counts = first_by_key(_score_key(score, eligible), count, limit, sample_ids)
    return mark_rows(rows, counts, score.shape).to(eligible.dtype)


def reads_few(limit: int, n_tokens: int) -> bool:
    """Whether choosing ``limit`` tokens looks at few keys beside the highest of each unit of ``UNIT``."""
    return 2 * limit * UNIT <= n_tokens


def first_by_key(key: Tensor | Keys, count: Tensor, limit: int, sample_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Flat rows [limit] of the ``count`` tokens of the highest key [B, T], and which count (bool [limit]).

    A token with the key NaN or -inf may not be chosen. ``count`` is a 0-d tensor of at most ``limit``.
    The rows are in the order (sample_id, position).
    """
    keys = StoredKeys(key) if isinstance(key, torch.Tensor) else key
    order, n_tokens = sample_ids.argsort(), keys.shape[0] * keys.shape[1]
    if limit == 0 or n_tokens == 0:
        return order[:0], order[:0] > 0
    values, first = _leading_units(keys, order, limit)
    if values.shape[1] > _PART and values.numel() > _MANY:
        first = _spread(first, values.shape[1], _PART)
        values = values.view(-1, _PART)
        kept, real = _leading(values.amax(1), limit)
        values = torch.where(real.unsqueeze(1), values.index_select(0, kept), -torch.inf)
        first = first.index_select(0, kept)
    rows = _spread(first, values.shape[1], 1)
    kept, counts = _places(_leading_tokens(values.flatten(), count, limit), limit)
    return torch.where(counts, rows[kept], 0), counts


def _spread(first: Tensor, size: int, step: int) -> Tensor:
    """[k · size / step]: first rows of the parts of ``step`` tokens of units, from the first row of each."""
    return (first.unsqueeze(1) + torch.arange(0, size, step, device=first.device)).flatten()


def mark_rows(rows: Tensor, counts: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Bool [B, T]: true at those flat rows [k] that count."""
    n_tokens = shape[0] * shape[1]
    marks = torch.zeros(n_tokens + 1, dtype=torch.bool, device=rows.device)
    marks[torch.where(counts, rows, n_tokens)] = True
    return marks[:-1].view(shape)


def _score_key(score: Tensor, eligible: Tensor) -> Tensor:
    """``score`` where ``eligible`` is 1, -inf where it is 0."""
    return score - eligible.reciprocal().sub_(1.0)


def _leading_units(keys: Keys, order: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The keys [k, size] of the units that hold every chosen token, by place; the first flat row of each."""
    n_tokens, length = keys.shape[0] * keys.shape[1], keys.shape[1]
    size = next((size for size in (UNIT, _PART) if 2 * limit * size <= n_tokens), 1)
    maxima = keys.maxima(size)
    width = maxima.shape[1]
    by_place = (order.unsqueeze(1) * width + torch.arange(width, device=order.device)).flatten()
    maxima = maxima.flatten().index_select(0, by_place)
    if size == 1:
        return maxima.unsqueeze(1), by_place
    kept, real = _leading(maxima, limit)
    units = Units(by_place.index_select(0, kept), size, length)
    return torch.where(real.unsqueeze(1), keys.of(units), -torch.inf), units.first_rows


def _leading(maxima: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Indices [limit], ascending, of the highest ``maxima`` [n], n ≥ limit; which of them are no fillers."""
    lowest = maxima.topk(limit, sorted=False).values.amin()
    higher, level = maxima > lowest, maxima == lowest
    return _places(higher | (level & (level.cumsum(0) <= limit - higher.sum())), limit)


def _leading_tokens(values: Tensor, count: Tensor, limit: int) -> Tensor:
    """Bool [n]: the ``count`` highest of ``values`` [n] that are not -inf; of equal ones the first."""
    highest = values.topk(limit).values
    count = count.minimum((highest > -torch.inf).sum())
    lowest = highest.gather(0, (count - 1).clamp(min=0).view(1))
    room, level = count - (highest > lowest).sum(), values == lowest
    return (values > lowest) | (level & (level.cumsum(0) <= room))


def _places(marked: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Indices [limit] of at most so many ``marked`` places [n], ascending; which of them are no fillers."""
    n = len(marked)
    slot = torch.where(marked, marked.cumsum(0) - 1, limit)
    found = torch.full((limit + 1,), n, device=marked.device)
    found = found.scatter_(0, slot, torch.arange(n, device=marked.device))[:limit]
    return found.clamp(max=n - 1), found < n
