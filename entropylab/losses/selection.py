"""Which tokens a control chooses: exact ranking on the device, without a host sync.

Ties go by (sample_id, position) ascending. The threshold comes from a top-k of static size; the number of
tokens at the threshold that still fit is counted on the device. ``numpy_selection`` holds the twin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch
from .hashing import COLUMN_SALT, MIX_A, MIX_B, WORD, mix_word, stream_key
from .masking import compare, count_of

if TYPE_CHECKING:
    from torch import Tensor

_BLOCK = 64
_LARGEST_HASH = 2**24 - 1


def top_by_score(
    score: Tensor, eligible: Tensor, count: Tensor, limit: int, sample_ids: Tensor | None
) -> Tensor:
    """The ``count`` eligible tokens of the highest ``score``; all [B, T], ``eligible`` and result 0/1.

    ``count`` is a 0-d tensor of at most ``limit``; ``sample_ids`` [B] order ties, rows do where it is None.
    """
    least = eligible.reciprocal().sub_(1.0)
    return _first_by_key(torch.sub(score, least, out=least), eligible, count, limit, sample_ids)


def lowest_hash(
    eligible: Tensor, count: Tensor, limit: int, sample_ids: Tensor | None, *, seed: int, step: int
) -> Tensor:
    """The ``count`` eligible tokens of the smallest hash of their identity; [B, T], 0/1."""
    reversed_hash = _reversed_hash(sample_ids, eligible.shape, eligible.device, seed, step)
    key = reversed_hash.to(eligible.dtype).mul_(eligible)
    return _first_by_key(key, eligible, count, limit, sample_ids)


def token_hash(
    sample_ids: Tensor | None, shape: tuple[int, ...], device: torch.device, *, seed: int, step: int
) -> Tensor:
    """Hash in [0, 2²⁴) of each token as int32 [B, T]; rows are numbered where ``sample_ids`` is None."""
    return _LARGEST_HASH - _reversed_hash(sample_ids, shape, device, seed, step)


def _first_by_key(
    key: Tensor, eligible: Tensor, count: Tensor, limit: int, sample_ids: Tensor | None
) -> Tensor:
    """As ``top_by_score``, for keys that are lowest where a token is not eligible."""
    if limit == 0 or key.numel() == 0:
        return torch.zeros_like(eligible)
    count = count.minimum(count_of(eligible))
    highest = _highest(key.flatten(), limit)
    threshold = highest.gather(0, (count - 1).clamp(min=0).view(1))
    higher = compare(torch.gt, key, threshold)
    level = compare(torch.eq, key, threshold).mul_(eligible)
    return higher.add_(_first_of(level, count - count_of(higher), sample_ids))


def _highest(key: Tensor, limit: int) -> Tensor:
    """The ``limit`` highest values, sorted. The blocks of the highest maxima hold them all."""
    n_blocks = key.numel() // _BLOCK
    if 2 * limit * _BLOCK >= key.numel():
        return key.topk(limit).values
    whole = key[: n_blocks * _BLOCK].view(n_blocks, _BLOCK)
    blocks = whole.amax(1).topk(limit, sorted=False).indices
    rest = key[n_blocks * _BLOCK :]
    return torch.cat([whole[blocks].flatten(), rest]).topk(limit).values


def _first_of(level: Tensor, room: Tensor, sample_ids: Tensor | None) -> Tensor:
    """The first ``room`` marked tokens in the order (sample_id, position); 0/1 [B, T], overwrites ``level``.

    Whole rows fit or do not; at most one row is cut, and only there positions are counted.
    """
    totals = level.sum(1).long()
    order = slice(None) if sample_ids is None else sample_ids.argsort()
    ordered = totals[order]
    left = torch.empty_like(totals)
    left[order] = room - (ordered.cumsum(0) - ordered)
    cut = ((left > 0) & (left < totals)).long()
    row = cut.argmax(0, keepdim=True)
    line = level.index_select(0, row)
    fits = line * (line.cumsum(1) <= left[row])
    level.mul_((totals <= left).to(level.dtype).unsqueeze(1))
    return level.index_add_(0, row, fits * cut[row])


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


def _reversed_hash(
    sample_ids: Tensor | None, shape: tuple[int, ...], device: torch.device, seed: int, step: int
) -> Tensor:
    """2²⁴ - 1 - hash, int32 [B, T]: the smallest hash is the highest."""
    key = stream_key(seed, step)
    ids = torch.arange(shape[0], device=device) if sample_ids is None else sample_ids
    rows = _mix(_mix((ids & WORD) ^ key) ^ ((ids >> 32) & WORD))
    columns = _mix(torch.arange(shape[1], device=device) ^ mix_word(key ^ COLUMN_SALT))
    x = _signed(rows).unsqueeze(1) ^ _signed(columns)
    x.mul_(_signed_int(MIX_A))
    x.bitwise_xor_(x.bitwise_right_shift(15).bitwise_and_(0x1FFFF)).mul_(_signed_int(MIX_B))
    return x.bitwise_not_().bitwise_right_shift_(8).bitwise_and_(_LARGEST_HASH)


def chosen_rows(selected: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Flat rows [limit] of the selected tokens (0/1 [B, T]), and which of them count (bool [limit]).

    They are in row-major order; those past the number of selected tokens repeat the first and do not count.
    """
    flat = selected.flatten().bool()
    n = flat.numel()
    backwards = torch.arange(n, 0, -1, device=flat.device)
    highest = torch.where(flat, backwards, 0).topk(limit).values
    counts = highest > 0
    rows = torch.where(counts, n - highest, n - highest[:1].clamp(min=1))
    return rows, counts
