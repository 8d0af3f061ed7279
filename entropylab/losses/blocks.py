"""Computing by blocks of responses, so that on a CPU the steps of a long chain stay in its cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_TOKENS = 2**16
"""Tokens of one block: a few fp32 tensors of this size fit in a core's second-level cache."""


def row_blocks(like: Tensor) -> list[slice]:
    """Slices of the rows of [B, T]: one on a device other than the CPU and within ``torch.compile``."""
    n_rows, length = like.shape
    height = max(1, BLOCK_TOKENS // max(1, length))
    if like.device.type != "cpu" or n_rows <= height or torch.compiler.is_compiling():
        return [slice(0, n_rows)]
    return [slice(first, min(first + height, n_rows)) for first in range(0, n_rows, height)]


class Collector:
    """Puts the tensors of blocks together again, each in one allocation."""

    def __init__(self, n_rows: int, n_blocks: int) -> None:
        self._n_rows = n_rows
        self._copies = n_blocks > 1
        self.whole: dict[str, Tensor] = {}

    def put(self, name: str, rows: slice, part: Tensor) -> None:
        """Keep the ``part`` [b, ...] of these rows: a copy where there are several blocks."""
        if self._copies:
            self._slot(name, rows, part).copy_(part)
        else:
            self.whole[name] = part

    def multiply(self, name: str, rows: slice, first: Tensor, second: Tensor) -> None:
        """Keep the product of both, [b, ...]."""
        if self._copies:
            torch.mul(first, second, out=self._slot(name, rows, first))
        else:
            self.whole[name] = first * second

    def _slot(self, name: str, rows: slice, part: Tensor) -> Tensor:
        if name not in self.whole:
            self.whole[name] = part.new_empty((self._n_rows, *part.shape[1:]))
        return self.whole[name][rows]
