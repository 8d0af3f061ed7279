"""Top means and quadrants of one step, which do not merge over ranks, in two passes over its tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ..errors import FileChangedError
from .bit_counts import (
    LowerCounts,
    UpperCounts,
    exponent_sums,
    lower_counts,
    merge_lower,
    ordered_bits,
)
from .merging import ExactRows, sum_rows
from .summary import Centre, Row, centre_from, quadrants, top_means_of, undecided_tops

COLUMNS = ("update", "logprob", "advantage", "covariance", "selected")
"""What is read of the token rows."""

HELD_TOKENS = 1 << 22
"""Up to so many tokens of a step are kept between the passes; those of a larger one are read twice."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some tokens of one update: arrays [n]."""

    update: int
    logprob: np.ndarray
    advantage: np.ndarray
    covariance: np.ndarray
    selected: np.ndarray


Chunks = Callable[[], Iterable[Chunk]]
"""Gives the same chunks each time it is called."""


def twice(
    first: Callable[[], Iterator[Chunk]], n_tokens: int, again: Callable[[], Iterator[Chunk]] | None = None
) -> Chunks:
    """Reads the chunks of a step with ``first``, then gives those it kept or reads them ``again``."""
    if n_tokens > HELD_TOKENS:
        passes = iter([first])
        return lambda: next(passes, again or first)()
    held = list(first())
    return lambda: held


def chunks_of(batches: Iterable[pa.RecordBatch]) -> Iterator[Chunk]:
    """Chunks of record batches with the `COLUMNS`."""
    for batch in batches:
        update, *values = (batch[name].to_numpy(zero_copy_only=False) for name in COLUMNS)
        edges = [0, *(np.flatnonzero(np.diff(update)) + 1), len(update)]
        for first, last in pairwise(edges):
            if last > first:
                yield Chunk(int(update[first]), *(x[first:last] for x in values))


def exact_rows(chunks: Chunks) -> ExactRows:
    """Top means and quadrants by update; under None the top means of the whole step.

    Raises `FileChangedError` where the second pass finds other tokens than the first.
    """
    firsts: dict[int, _First] = {}
    for chunk in chunks():
        found = _First.of(chunk)
        firsts[chunk.update] = found.merge(firsts[chunk.update]) if chunk.update in firsts else found
    if not firsts:
        return {}
    uppers: dict[int | None, UpperCounts] = {update: first.upper for update, first in firsts.items()}
    uppers[None] = reduce(UpperCounts.merge, list(uppers.values()))
    lowers, quarters = _second_pass(chunks(), uppers, {u: first.centre for u, first in firsts.items()})
    for update, upper in uppers.items():
        _check_same(upper, lowers[update])
    return {
        update: {**top_means_of(upper, lowers[update]), **sum_rows(quarters.get(update, ()))}
        for update, upper in uppers.items()
    }


@dataclass(frozen=True, eq=False)
class _First:
    """What the first pass finds of an update, in any order and split."""

    upper: UpperCounts
    logprob: np.ndarray
    advantage: np.ndarray

    @classmethod
    def of(cls, chunk: Chunk) -> _First:
        upper = UpperCounts.of(chunk.covariance, ordered_bits(chunk.covariance))
        return cls(upper, exponent_sums(chunk.logprob), exponent_sums(chunk.advantage))

    def merge(self, other: _First) -> _First:
        sums = self.logprob + other.logprob, self.advantage + other.advantage
        return _First(self.upper.merge(other.upper), *sums)

    @property
    def centre(self) -> Centre | None:
        return centre_from(self.logprob, self.advantage, self.upper.n)


def _second_pass(
    chunks: Iterable[Chunk],
    uppers: Mapping[int | None, UpperCounts],
    centres: Mapping[int, Centre | None],
) -> tuple[dict[int | None, LowerCounts], dict[int | None, list[Row]]]:
    """Lower counts by update where the top means need them, and the quadrants of each chunk."""
    wanted = {update: undecided_tops(upper) for update, upper in uppers.items()}
    nothing = np.empty(0, np.uint32)
    lowers: dict[int | None, LowerCounts] = {u: lower_counts(nothing, places) for u, places in wanted.items()}
    quarters: dict[int | None, list[Row]] = {}
    for chunk in chunks:
        if chunk.update not in wanted:
            raise FileChangedError(_CHANGED)
        bits = ordered_bits(chunk.covariance)
        for key in (chunk.update, None):
            lowers[key] = merge_lower([lowers[key], lower_counts(bits, wanted[key])])
        arrays = chunk.logprob, chunk.advantage, chunk.covariance, chunk.selected
        quarters.setdefault(chunk.update, []).append(quadrants(*arrays, centres[chunk.update]))
    return lowers, quarters


_CHANGED = "the token rows of a step changed while they were read; read it again"


def _check_same(upper: UpperCounts, lower: LowerCounts) -> None:
    for place, counts in lower.items():
        if counts.sum() != upper.count[place]:
            raise FileChangedError(_CHANGED)
