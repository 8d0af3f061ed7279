"""Token rows of many steps as one table of bounded size: all where they fit, else tails and a share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

import numpy as np
import pyarrow as pa

from ..record.bit_counts import UpperCounts, ordered_bits
from ..record.reader import Run
from ..record.step_source import StepSource
from ..record.summary import top_count
from ..record.token_sampling import TokenSampling

MAX_ROWS = 4_000_000
"""Most rows that are held, about half a GB as a frame."""

_TAIL = 0.02
"""What is kept in full of each end of the covariance, unless that is more than an eighth of the rows held."""

_NEEDED = ("step", "update", "sample_id", "position", "covariance", "selected", "sampling_weight")


def token_rows(
    run: Run, steps: Sequence[int], columns: Sequence[str], max_rows: int | None = None
) -> tuple[pa.Table, bool]:
    """(rows of the steps, whether they are a sample of those stored).

    A sample holds the highest and lowest covariances of each update, the selected tokens, and a hashed share
    of the rest, each with its ``sampling_weight``: 1 / the probability that it is here.
    """
    max_rows = MAX_ROWS if max_rows is None else max_rows
    sources = run.step_sources(steps)
    stored = sum(m.tokens.rows for s in sources for m in s.markers if m.tokens)
    if stored <= max_rows:
        return pa.Table.from_batches(list(run.tokens(steps, columns))), False
    tail = min(_TAIL, max_rows / 8 / stored)
    sampling = TokenSampling(token_fraction=0.75 * max_rows / stored)
    names = list(dict.fromkeys([*columns, *_NEEDED]))
    kept = [part for s in sources for part in _thinned(s, names, tail, sampling)]
    return pa.Table.from_batches(kept).select(list(columns)), True


def _thinned(
    source: StepSource, names: Sequence[str], tail: float, sampling: TokenSampling
) -> Iterator[pa.RecordBatch]:
    bounds = _bounds(source, tail)
    for batch in source.rows("tokens", names):
        update, ids, position, covariance, weight = (
            batch[name].to_numpy(zero_copy_only=False)
            for name in ("update", "sample_id", "position", "covariance", "sampling_weight")
        )
        updates, place = np.unique(update, return_inverse=True)
        low, high = np.array([bounds[int(u)] for u in updates]).T
        upper = ordered_bits(covariance) >> np.uint32(16)
        certain = (upper >= high[place]) | (upper <= low[place])
        certain |= batch["selected"].to_numpy(zero_copy_only=False)
        drawn = sampling.draw(source.step, ids, np.arange(len(ids)), position)
        keep = certain | drawn
        weight = np.where(np.isnan(weight), 1.0, weight) / np.where(certain, 1.0, sampling.probability)
        at = batch.schema.get_field_index("sampling_weight")
        yield batch.set_column(at, batch.schema.field(at), pa.array(weight, pa.float32())).filter(
            pa.array(keep)
        )


def _bounds(source: StepSource, tail: float) -> dict[int, tuple[int, int]]:
    """By update: upper halves at or below the first or at or above the second are kept in any case."""
    parts: dict[int, list[UpperCounts]] = {}
    for batch in source.rows("tokens", ("update", "covariance")):
        update, covariance = batch["update"].to_numpy(), batch["covariance"].to_numpy()
        for u in np.unique(update):
            own = covariance[update == u]
            parts.setdefault(int(u), []).append(UpperCounts.of(own, ordered_bits(own)))
    return {u: _ends(reduce(UpperCounts.merge, counts), tail) for u, counts in parts.items()}


def _ends(upper: UpperCounts, tail: float) -> tuple[int, int]:
    """Upper halves at which the ends begin: each holds the tail, unless many values are alike there."""
    k = top_count(tail, upper.n)
    high, inside = upper.place(k)
    if k - inside + upper.count[high] > 2 * k:
        high += 1
    low, _ = upper.place(upper.n - k + 1)
    if upper.count[: low + 1].sum() > 2 * k:
        low -= 1
    return low, high
