"""Parts of a token set: blocks of responses, and short runs of tokens.

On a CPU the steps of a long chain stay in its cache when they go by blocks of responses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_TOKENS = 2**17
"""Tokens of one block: fewer cost more in calls, more do not stay in the cache."""


class Part(Protocol):
    """Some tokens of a token set, [b, t]."""

    def of_tokens(self, values: Tensor) -> Tensor:
        """Those of ``values`` [B, T], as [b, t]."""
        ...

    def of_responses(self, values: Tensor) -> Tensor:
        """Those of ``values`` [B, ...], as [b, ...]."""
        ...

    @property
    def positions(self) -> Tensor | None:
        """int64 [b, t]; None where they are the numbers of the columns."""
        ...


@dataclass(frozen=True)
class Rows:
    """Consecutive responses."""

    rows: slice

    def of_tokens(self, values: Tensor) -> Tensor:
        """Those of ``values`` [B, T]."""
        return values[self.rows]

    of_responses = of_tokens

    @property
    def positions(self) -> None:
        """The numbers of the columns."""
        return None


class Units:
    """Units [k] of ``size`` tokens of one response, by their numbers among the units of [B, T]."""

    def __init__(self, units: Tensor, size: int, length: int) -> None:
        width = -(-length // size)
        self._units, self._size, self._length = units, size, length
        self._row, start = units // width, (units % width) * size
        self._start = start
        self._columns = torch.arange(size, device=units.device)

    @property
    def positions(self) -> Tensor:
        """int64 [k, size]."""
        return self._start.unsqueeze(1) + self._columns

    @property
    def first_rows(self) -> Tensor:
        """int64 [k]: flat row of the first token of each."""
        return self._row * self._length + self._start

    def of_tokens(self, values: Tensor) -> Tensor:
        """[k, size] of ``values`` [B, T]; past the end of a response its last value."""
        if self._length % self._size == 0 and values.is_contiguous():
            return values.view(-1, self._size).index_select(0, self._units)
        return values[self._row.unsqueeze(1), self.positions.clamp(max=self._length - 1)]

    def of_responses(self, values: Tensor) -> Tensor:
        """[k, ...] of ``values`` [B, ...]."""
        return values.index_select(0, self._row)

    def past_the_end(self) -> Tensor | None:
        """Bool [k, size]: no token is there; None where all are."""
        return None if self._length % self._size == 0 else self.positions >= self._length


def row_blocks(shape: tuple[int, ...], device: Any) -> list[slice]:
    """Slices of the rows of [B, T]: one on a device other than the CPU and within ``torch.compile``."""
    n_rows, length = shape
    height = max(1, BLOCK_TOKENS // max(1, length))
    if device.type != "cpu" or n_rows <= height or torch.compiler.is_compiling():
        return [slice(0, n_rows)]
    _let_malloc_keep_blocks()
    return [slice(first, min(first + height, n_rows)) for first in range(0, n_rows, height)]


@cache
def _let_malloc_keep_blocks() -> None:
    """Once in a process: so that the memory of one block is there for the next one.

    glibc gives freed memory back to the system beyond twice the largest chunk that was ever freed, and then
    each page of the next block costs a fault. This frees such a chunk, which was never touched; in a process
    that has held larger tensors it changes nothing.
    """
    torch.empty(24 * 2**20, dtype=torch.uint8)


class Collector:
    """Puts the tensors of blocks together again, each in one allocation."""

    def __init__(self, n_rows: int, n_blocks: int) -> None:
        self._n_rows = n_rows
        self._copies = n_blocks > 1
        self.whole: dict[str, Tensor] = {}

    def put(self, name: str, rows: slice, part: Tensor, dtype: torch.dtype | None = None) -> None:
        """Keep the ``part`` [b, ...] of these rows, in ``dtype``: a copy where there are several blocks."""
        if self._copies:
            if name not in self.whole:
                self.whole[name] = part.new_empty((self._n_rows, *part.shape[1:]), dtype=dtype or part.dtype)
            self.whole[name][rows].copy_(part)
        else:
            self.whole[name] = part.to(dtype or part.dtype).contiguous()
