"""Which tokens a control chooses: exact ranking on the device, without a host sync.

A control gives each token a key, NaN or -inf where it may not be chosen. The tokens of the highest keys are
chosen; equal keys go by (sample_id, position) ascending. ``numpy_selection`` holds the twin.

All sizes are static. Only one pass reads all keys: the maxima of units of 64 tokens. In the order (maximum
descending, place ascending), the first ``limit`` units hold every chosen token: a unit above the lowest
chosen key holds a chosen token of its own, and so does each unit at it that ties need. So the rest is work on
``limit`` units, then on as many parts of 8 tokens, then on tokens.

The first ``limit`` units are found from the value of the last one on a CPU, and by a sort on other devices,
where a sort takes fewer and faster steps than a threshold and its ties.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .backend import torch
from .blocks import Units
from .keys import UNIT, Keys, StoredKeys

if TYPE_CHECKING:
    from torch import Tensor

_PART = 8
"""Tokens of the parts that units are cut into where there are many."""
_MANY = 2**13
"""Tokens."""


def top_by_score(score: Tensor, eligible: Tensor, count: Tensor, limit: int, sample_ids: Tensor) -> Tensor:
    """The ``count`` eligible tokens of the highest ``score``, as 0/1 [B, T] like ``eligible``."""
    rows, counts = first_by_key(_score_key(score, eligible), count, limit, sample_ids)
    return mark_rows(rows, counts, score.shape).to(eligible.dtype)


def reads_few(limit: int, n_tokens: int) -> bool:
    """Whether choosing ``limit`` tokens looks at few keys beside the highest of each unit of ``UNIT``."""
    return 2 * limit * UNIT <= n_tokens


def first_by_key(
    key: Tensor | Keys, count: Tensor, limit: int, sample_ids: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Flat rows [limit] of the ``count`` tokens of the highest key [B, T], and which count (bool [limit]).

    A token with the key NaN or -inf may not be chosen. ``count`` is a 0-d tensor of at most ``limit``.
    The rows are in the order (sample_id, position); ``sample_ids`` None: in that of the responses. Rows that
    do not count are any, each another one, so that adding 0 there is quick.
    """
    keys = StoredKeys(key) if isinstance(key, torch.Tensor) else key
    if limit == 0 or keys.shape[0] * keys.shape[1] == 0:
        none = torch.empty(0, dtype=torch.int64, device=count.device)
        return none, none > 0
    values, first = _leading_units(keys, sample_ids, limit)
    if values.shape[1] > _PART and values.numel() > _MANY:
        first = _spread(first, values.shape[1], _PART)
        values = values.view(-1, _PART)
        kept = _leading(values.amax(1), limit)
        values, first = values.index_select(0, kept), first.index_select(0, kept)
    rows = _spread(first, values.shape[1], 1)
    kept, counts = _places(_leading_tokens(values.flatten(), count, limit), limit)
    return torch.where(counts, rows[kept], torch.arange(limit, device=rows.device)), counts


def _spread(first: Tensor, size: int, step: int) -> Tensor:
    """[k · size / step]: first rows of the parts of ``step`` tokens of units, from the first row of each."""
    return (first.unsqueeze(1) + torch.arange(0, size, step, device=first.device)).flatten()


def mark_rows(rows: Tensor, counts: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Bool [B, T]: true at those flat rows [k] that count."""
    n_tokens = shape[0] * shape[1]
    marks = torch.zeros(n_tokens + 1, dtype=torch.bool, device=rows.device)
    marks.index_fill_(0, torch.where(counts, rows, n_tokens), True)
    return marks[:-1].view(shape)


def _score_key(score: Tensor, eligible: Tensor) -> Tensor:
    """``score`` where ``eligible`` is 1, -inf where it is 0."""
    return score - eligible.reciprocal().sub_(1.0)


def _leading_units(keys: Keys, sample_ids: Tensor | None, limit: int) -> tuple[Tensor, Tensor]:
    """The keys [k, size] of the units that hold every chosen token, by place; the first flat row of each."""
    n_tokens, length = keys.shape[0] * keys.shape[1], keys.shape[1]
    size = next((size for size in (UNIT, _PART) if 2 * limit * size <= n_tokens), 1)
    maxima = keys.maxima(size)
    by_place = None if sample_ids is None else _units_by_place(sample_ids, maxima.shape[1])
    maxima = maxima.flatten()
    if by_place is not None:
        maxima = maxima.index_select(0, by_place)
    if size == 1:
        everyone = torch.arange(len(maxima), device=maxima.device) if by_place is None else by_place
        return maxima.unsqueeze(1), everyone
    kept = _leading(maxima, limit)
    units = Units(kept if by_place is None else by_place.index_select(0, kept), size, length)
    return keys.of(units), units.first_rows


def _units_by_place(sample_ids: Tensor, width: int) -> Tensor:
    """The numbers of the units of [B, width] in the order (sample_id, place)."""
    columns = torch.arange(width, device=sample_ids.device)
    return (sample_ids.argsort().unsqueeze(1) * width + columns).flatten()


def _sorts(device: Any) -> bool:
    return device.type != "cpu"


def _leading(maxima: Tensor, limit: int) -> Tensor:
    """Indices [limit], ascending, of the highest ``maxima`` [n], n ≥ limit; of equal ones the first."""
    if not _sorts(maxima.device):
        lowest = maxima.topk(limit, sorted=False).values.amin()
        higher, level = maxima > lowest, maxima == lowest
        marked = higher | (level & (level.cumsum(0) <= limit - higher.sum()))
    else:
        first = maxima.sort(descending=True, stable=True).indices[:limit]
        marked = torch.zeros_like(maxima, dtype=torch.bool).index_fill_(0, first, True)
    return _places(marked, limit)[0]


def _leading_tokens(values: Tensor, count: Tensor, limit: int) -> Tensor:
    """Bool [n]: the ``count`` highest of ``values`` [n] that are not -inf; of equal ones the first."""
    if _sorts(values.device):
        highest, first = (x[:limit] for x in values.sort(descending=True, stable=True))
        counts = (torch.arange(limit, device=values.device) < count) & (highest > -torch.inf)
        return mark_rows(first, counts, (1, len(values))).squeeze(0)
    highest = values.topk(limit).values
    count = count.minimum((highest > -torch.inf).sum())
    lowest = highest.gather(0, (count - 1).clamp(min=0).view(1))
    room, level = count - (highest > lowest).sum(), values == lowest
    return (values > lowest) | (level & (level.cumsum(0) <= room))


def _places(marked: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Indices [limit] of at most so many ``marked`` places [n], ascending; which of them are no fillers."""
    n = len(marked)
    found = torch.searchsorted(marked.cumsum(0), torch.arange(1, limit + 1, device=marked.device))
    return found.clamp(max=n - 1), found < n
