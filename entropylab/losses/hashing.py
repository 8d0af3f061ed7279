"""A counter hash of (seed, step, sample_id, position): the same 24 bits in NumPy and in torch.

Each token's draw depends on its own identity alone, so it is the same whatever the batch layout.
The row (sample_id) is mixed with the key of (seed, step) by two 32-bit multiplications and xor-shifts, the
column (position) is multiplied once; a token joins the two and is mixed again, as signed words, so that
shifts keep the sign. Only wrapping 32-bit arithmetic is used. 24 bits are exact in fp32; tokens of equal hash
go by (sample_id, position). The multipliers lie below 2³¹, so that a 32-bit word times one of them fits in
int64, where a compiler may take overflow as undefined.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MIX_A = 0x21F0AAAD
MIX_B = 0x735A2D97
GOLDEN = 0x9E3779B1
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
        key = mix_word(key ^ (number & WORD) ^ GOLDEN)
        key = mix_word(key ^ ((number >> 32) & WORD))
    return key


def token_hash(sample_ids: Any, positions: Any, *, seed: int, step: int) -> NDArray[np.int64]:
    """Hash in [0, 2²⁴) of each token, for arrays of sample ids (int64) and positions of one shape."""
    ids = np.asarray(sample_ids, dtype=np.int64).view(np.uint64)
    low = (ids & np.uint64(WORD)).astype(np.uint32)
    high = (ids >> np.uint64(32)).astype(np.uint32)
    rows = (low ^ np.uint32(stream_key(seed, step))) * np.uint32(MIX_A)
    rows = ((rows ^ (rows >> np.uint32(16))) ^ high) * np.uint32(MIX_B)
    rows = rows ^ (rows >> np.uint32(15))
    columns = np.asarray(positions).astype(np.uint32) * np.uint32(GOLDEN)
    x = ((rows ^ columns) * np.uint32(MIX_A)).view(np.int32)
    x = ((x ^ (x >> np.int32(15))).view(np.uint32) * np.uint32(MIX_B)).view(np.int32)
    return LARGEST_HASH // 2 - (x >> np.int32(8)).astype(np.int64)
