"""Which tokens a control chooses: exact ranking on the device, without a host sync.

A control gives each token a key, NaN or -inf where it may not be chosen. The tokens of the highest keys are
chosen; equal keys go by (sample_id, position) ascending. ``numpy_selection`` holds the twin.

All sizes are static. Only one pass reads all keys: the maxima of units of 64 tokens. At most ``limit`` units
can hold a chosen token, so the rest is work on ``limit`` units, then on as many units of 8, then on tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch
from .hashing import COLUMN_SALT, LARGEST_HASH, MIX_A, MIX_B, WORD, mix_word, stream_key

if TYPE_CHECKING:
    from torch import Tensor

_UNITS = (64, 8)


def hash_key(eligible: Tensor, sample_ids: Tensor, *, seed: int, step: int) -> Tensor:
    """The key of the smallest hash of a token's identity; ``eligible`` is 0/1 [B, T]."""
    negated = _hash_words(sample_ids, eligible.shape[1], seed, step).sub_(LARGEST_HASH // 2 + 1)
    return negated.to(eligible.dtype).div_(eligible)


def token_hash(sample_ids: Tensor, length: int, *, seed: int, step: int) -> Tensor:
    """Hash in [0, 2²⁴) of each token as int32 [B, T]."""
    return LARGEST_HASH // 2 - _hash_words(sample_ids, length, seed, step)


def top_by_score(score: Tensor, eligible: Tensor, count: Tensor, limit: int, sample_ids: Tensor) -> Tensor:
    """The ``count`` eligible tokens of the highest ``score``, as 0/1 [B, T] like ``eligible``."""
    rows, counts = first_by_key(_score_key(score, eligible), count, limit, sample_ids)
    return mark_rows(rows, counts, score.shape).to(eligible.dtype)


def unit_maxima(key: Tensor, size: int = _UNITS[0]) -> Tensor:
    """[B, units]: the highest key of each unit of ``size`` tokens; -inf where none may be chosen."""
    short = -key.shape[1] % size
    if short:
        key = torch.nn.functional.pad(key, (0, short), value=-torch.inf)
    return key.unflatten(1, (-1, size)).amax(2) if key.numel() else key


def first_by_key(
    key: Tensor, count: Tensor, limit: int, sample_ids: Tensor, maxima: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Flat rows [limit] of the ``count`` tokens of the highest key [B, T], and which count (bool [limit]).

    A token with the key NaN or -inf may not be chosen. ``count`` is a 0-d tensor of at most ``limit``.
    The rows are in the order (sample_id, position). ``maxima``: of ``unit_maxima``, where they are known.
    """
    order = sample_ids.argsort()
    if limit == 0 or key.numel() == 0:
        return order[:0], order[:0] > 0
    sizes = [size for size in _UNITS if 2 * limit * size <= key.numel()] or [1]
    if maxima is None or sizes[0] != _UNITS[0]:
        maxima = unit_maxima(_filled(key), sizes[0])
    width = maxima.shape[1]
    threshold, room = _threshold(key, maxima.flatten(), count, limit, sizes)

    ordered = (order.unsqueeze(1) * width + torch.arange(width, device=key.device)).flatten()
    kept, real = _earliest(maxima.flatten()[ordered], threshold, limit)
    values, first = _leaves(key, ordered[kept], sizes[0])
    values = torch.where(real, values, -torch.inf)
    for size in [*sizes[1:], 1]:
        if values.shape[1] > size:
            values, first = _narrowed(values, first, size, threshold, limit)
    values = values.squeeze(1)
    level = values == threshold
    counts = (values > threshold) | (level & (level.cumsum(0) <= room))
    return torch.where(counts, first, 0), counts


def mark_rows(rows: Tensor, counts: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Bool [B, T]: true at those flat rows [k] that count."""
    n_tokens = shape[0] * shape[1]
    marks = torch.zeros(n_tokens + 1, dtype=torch.bool, device=rows.device)
    marks[torch.where(counts, rows, n_tokens)] = True
    return marks[:-1].view(shape)


def _score_key(score: Tensor, eligible: Tensor) -> Tensor:
    """``score`` where ``eligible`` is 1, -inf where it is 0."""
    return score - eligible.reciprocal().sub_(1.0)


def _leaves(key: Tensor, units: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The keys [k, size] in those units, -inf where none may be chosen, and the first flat row of each."""
    length, width = key.shape[1], -(-key.shape[1] // size)
    if length % size == 0:
        values, first = key.reshape(-1, size)[units], units * size
    else:
        row, start = units // width, (units % width) * size
        column = start.unsqueeze(1) + torch.arange(size, device=key.device)
        values = key[row.unsqueeze(1), column.clamp(max=length - 1)]
        values = values.masked_fill(column >= length, -torch.inf)
        first = row * length + start
    return _filled(values), first


def _filled(key: Tensor) -> Tensor:
    """-inf in place of NaN."""
    return key.nan_to_num(-torch.inf, torch.inf, -torch.inf)


def _threshold(
    key: Tensor, maxima: Tensor, count: Tensor, limit: int, sizes: list[int]
) -> tuple[Tensor, Tensor]:
    """The lowest key that is chosen, and how many tokens of exactly this key are; 0-d each."""
    highest = maxima.topk(min(limit, len(maxima)), sorted=sizes == [1])
    values = highest.values
    if sizes != [1]:
        values, _ = _leaves(key, highest.indices, sizes[0])
        for size in sizes[1:]:
            parts = values.view(-1, size)
            values = parts[parts.amax(1).topk(limit, sorted=False).indices]
        values = values.flatten().topk(limit).values
    count = count.minimum((values > -torch.inf).sum())
    threshold = values.gather(0, (count - 1).clamp(min=0).view(1)).squeeze(0)
    return threshold, count - (values > threshold).sum()


def _earliest(maxima: Tensor, threshold: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Indices [limit] of the units, in order, that can hold a chosen token; which are no fillers [limit, 1].

    These are the units above the threshold and, as far as there is room, the first ones at it.
    """
    n = len(maxima)
    higher, level = maxima > threshold, maxima == threshold
    kept = higher | (level & (level.cumsum(0) <= limit - higher.sum()))
    place = torch.where(kept, kept.cumsum(0) - 1, limit)
    found = torch.full((limit + 1,), n, device=maxima.device)
    found = found.scatter_(0, place, torch.arange(n, device=maxima.device))[:limit]
    return found.clamp(max=n - 1), (found < n).unsqueeze(1)


def _narrowed(
    values: Tensor, first: Tensor, size: int, threshold: Tensor, limit: int
) -> tuple[Tensor, Tensor]:
    """As units of ``size`` tokens, of which at most ``limit`` are kept: their keys and first flat rows."""
    parts = values.view(-1, size)
    offsets = torch.arange(0, values.shape[1], size, device=first.device)
    starts = (first.unsqueeze(1) + offsets).flatten()
    kept, real = _earliest(parts.amax(1), threshold, limit)
    return torch.where(real, parts[kept], -torch.inf), starts[kept]


def _mix(x: Tensor) -> Tensor:
    """The mix of ``hashing`` on 32-bit words held in int64."""
    x = x ^ (x >> 16)
    x = (x * MIX_A) & WORD
    x = x ^ (x >> 15)
    x = (x * MIX_B) & WORD
    return x ^ (x >> 16)


def _signed(x: Tensor) -> Tensor:
    return (x - ((x >> 31) << 32)).to(torch.int32)


def _signed_int(x: int) -> int:
    return x - ((x >> 31) << 32)


def _hash_words(sample_ids: Tensor, length: int, seed: int, step: int) -> Tensor:
    """2²³ - 1 - hash, int32 [B, T]: the smallest hash is the highest."""
    key = stream_key(seed, step)
    rows = _mix(_mix((sample_ids & WORD) ^ key) ^ ((sample_ids >> 32) & WORD))
    columns = _mix(torch.arange(length, device=sample_ids.device) ^ mix_word(key ^ COLUMN_SALT))
    x = _signed(rows).unsqueeze(1) ^ _signed(columns)
    x.mul_(_signed_int(MIX_A))
    x.bitwise_xor_(x.bitwise_right_shift(15)).mul_(_signed_int(MIX_B))
    return x.bitwise_right_shift_(8)
