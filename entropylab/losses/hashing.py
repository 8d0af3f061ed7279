"""A counter hash of (seed, step, sample_id, position): the same 24 bits in NumPy and in torch.

Each token's draw depends on its own identity alone, so it is the same whatever the batch layout.
The row (sample_id) and the column (position) are hashed once each with two 32-bit multiplications and
xor-shifts; a token joins the two and is mixed again, as signed words, so that shifts keep the sign. Only
wrapping 32-bit arithmetic is used. 24 bits are exact in fp32; tokens of equal hash go by
(sample_id, position).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MIX_A = 0x7FEB352D
MIX_B = 0x846CA68B
COLUMN_SALT = 0x9E3779B9
WORD = 0xFFFFFFFF
LARGEST_HASH = 2**24 - 1


def mix_word(x: int) -> int:
    """A bijective mix of a 32-bit word, in plain integers."""
    x ^= x >> 16
    x = (x * MIX_A) & WORD
    x ^= x >> 15
    x = (x * MIX_B) & WORD
    return x ^ (x >> 16)


def stream_key(seed: int, step: int) -> int:
    """The 32-bit key of one draw, from the low 64 bits of ``seed`` and ``step``."""
    key = 0
    for number in (seed, step):
        key = mix_word(key ^ (number & WORD) ^ COLUMN_SALT)
        key = mix_word(key ^ ((number >> 32) & WORD))
    return key


def _mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(MIX_A)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(MIX_B)
    return x ^ (x >> np.uint32(16))


def token_hash(sample_ids: Any, positions: Any, *, seed: int, step: int) -> NDArray[np.int64]:
    """Hash in [0, 2²⁴) of each token, for arrays of sample ids (int64) and positions of one shape."""
    key = stream_key(seed, step)
    ids = np.asarray(sample_ids, dtype=np.int64).view(np.uint64)
    low = (ids & np.uint64(WORD)).astype(np.uint32)
    high = (ids >> np.uint64(32)).astype(np.uint32)
    rows = _mix(_mix(low ^ np.uint32(key)) ^ high)
    columns = _mix(np.asarray(positions).astype(np.uint32) ^ np.uint32(mix_word(key ^ COLUMN_SALT)))
    x = ((rows ^ columns) * np.uint32(MIX_A)).view(np.int32)
    x = ((x ^ (x >> np.int32(15))).view(np.uint32) * np.uint32(MIX_B)).view(np.int32)
    return LARGEST_HASH // 2 - (x >> np.int32(8)).astype(np.int64)
