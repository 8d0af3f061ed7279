"""Top means and quadrants of one step, which do not merge over ranks, in two passes over its tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ..errors import FileChangedError
from .bit_counts import LowerCounts, UpperCounts, lower_counts, merge_lower, ordered_bits
from .marker import Marker
from .merging import ExactRows, merge_partials, sum_rows
from .summary import Centre, Row, quadrants, top_means_of, undecided_tops

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


def centres_of(markers: Iterable[Marker]) -> dict[int, Centre | None]:
    """By update the mean (logprob, advantage) over all ranks; None where a value is not finite."""
    summaries = [s for m in markers for s in m.updates]
    found: dict[int, Centre | None] = {}
    for update in sorted({s.update for s in summaries}):
        partial = merge_partials(s.partial for s in summaries if s.update == update)
        logprob, advantage = (partial.moment(name) for name in ("logprob", "advantage"))
        whole = logprob.n == advantage.n == partial.n_tokens > 0
        found[update] = (logprob.mean, advantage.mean) if whole else None
    return found


def exact_rows(chunks: Chunks, centres: Callable[[], Mapping[int, Centre | None]]) -> ExactRows:
    """Top means and quadrants by update; under None the top means of the whole step.

    ``centres`` is asked between the two passes.
    Raises `FileChangedError` where the second pass finds other tokens than the first.
    """
    uppers = _first_pass(chunks())
    if not uppers:
        return {}
    wanted = {update: undecided_tops(upper) for update, upper in uppers.items()}
    uppers[None] = reduce(UpperCounts.merge, list(uppers.values()))
    wanted[None] = undecided_tops(uppers[None])
    lowers, masses = _second_pass(chunks(), wanted, centres())
    for update, upper in uppers.items():
        _check_same(upper, lowers[update])
    return {
        update: {**top_means_of(upper, lowers[update]), **sum_rows(masses.get(update, ()))}
        for update, upper in uppers.items()
    }


def _first_pass(chunks: Iterable[Chunk]) -> dict[int | None, UpperCounts]:
    uppers: dict[int | None, UpperCounts] = {}
    for chunk in chunks:
        counts = UpperCounts.of(chunk.covariance, ordered_bits(chunk.covariance))
        known = uppers.get(chunk.update)
        uppers[chunk.update] = counts if known is None else known.merge(counts)
    return uppers


def _second_pass(
    chunks: Iterable[Chunk], wanted: Mapping[int | None, set[int]], centres: Mapping[int, Centre | None]
) -> tuple[dict[int | None, LowerCounts], dict[int | None, list[Row]]]:
    """Lower counts of the wanted upper halves by update, and the quadrants of each chunk."""
    lowers: dict[int | None, LowerCounts] = {}
    masses: dict[int | None, list[Row]] = {}
    for chunk in chunks:
        bits = ordered_bits(chunk.covariance)
        for key in (chunk.update, None):
            found = lower_counts(bits, wanted[key])
            lowers[key] = merge_lower([lowers[key], found]) if key in lowers else found
        arrays = chunk.logprob, chunk.advantage, chunk.covariance, chunk.selected
        masses.setdefault(chunk.update, []).append(quadrants(*arrays, centres.get(chunk.update)))
    return lowers, masses


def _check_same(upper: UpperCounts, lower: LowerCounts) -> None:
    for place, counts in lower.items():
        if counts.sum() != upper.count[place]:
            raise FileChangedError("the token rows of a step changed while they were read; read it again")
