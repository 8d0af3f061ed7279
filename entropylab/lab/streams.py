"""Named random streams: one use never moves the draws of another."""

from __future__ import annotations

import hashlib

import torch


def stream_seed(seed: int, purpose: str, step: int = 0) -> int:
    """63-bit seed of the stream for one purpose at one step."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def stream(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A fresh generator for one purpose at one step of the run with this seed."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose, step))
