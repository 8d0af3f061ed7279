"""The hash of ``hashing`` on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch
from .hashing import GOLDEN, LARGEST_HASH, MIX_A, MIX_B, WORD, stream_key

if TYPE_CHECKING:
    from torch import Tensor


def hash_key(
    eligible: Tensor, sample_ids: Tensor, positions: Tensor | None = None, *, seed: int, step: int
) -> Tensor:
    """The key of the smallest hash of a token's identity; ``eligible`` is 0/1 [B, T]. See ``token_hash``."""
    return key_of_words(eligible, row_words(sample_ids, seed, step), positions)


def key_of_words(eligible: Tensor, words: Tensor, positions: Tensor | None = None) -> Tensor:
    """That key from the ``row_words`` [B]."""
    if positions is None:
        positions = torch.arange(eligible.shape[1], device=eligible.device)
    negated = _hash_words(words, positions).sub_(LARGEST_HASH // 2 + 1)
    return negated.to(eligible.dtype).div_(eligible)


def token_hash(sample_ids: Tensor, positions: Tensor, *, seed: int, step: int) -> Tensor:
    """Hash in [0, 2²⁴), int32, of the tokens at ``positions`` [T] or [B, T] of ``sample_ids`` [B]."""
    return LARGEST_HASH // 2 - _hash_words(row_words(sample_ids, seed, step), positions)


def row_words(sample_ids: Tensor, seed: int, step: int) -> Tensor:
    """int32 [B]: what the hash takes from the response of a token."""
    words = (((sample_ids & WORD) ^ stream_key(seed, step)) * MIX_A) & WORD
    words = ((words ^ (words >> 16) ^ ((sample_ids >> 32) & WORD)) * MIX_B) & WORD
    return (words ^ (words >> 15)).int()


def _hash_words(words: Tensor, positions: Tensor) -> Tensor:
    """2²³ - 1 - hash, int32 [B, T]: the smallest hash is the highest."""
    x = words.unsqueeze(1) ^ ((positions & WORD) * GOLDEN).int()
    x.mul_(MIX_A)
    x.bitwise_xor_(x.bitwise_right_shift(15)).mul_(MIX_B)
    return x.bitwise_right_shift_(8)
