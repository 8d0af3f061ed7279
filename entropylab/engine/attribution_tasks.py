"""What a worker does with one step of an attribution: five functions from its rows to counts that merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import RunFormatError
from ..record.bit_counts import LowerCounts, UpperCounts, lower_counts, merge_lower, ordered_bits
from ..record.merging import update_rows
from ..record.step_source import StepSource
from ..record.summary import quadrant_index
from ..schema import QUADRANTS
from .attribution_cells import CellCounts, Member, counts_by_prompt, padded_sum
from .attribution_totals import RANKED, Totals, finite

_FINITE = ("covariance", "logprob", "advantage")
_COLUMNS = ("update", "prompt_id", "position", "token_id", "entropy", "selected", *_FINITE)

_SETS = 3

Edges = Mapping[str, np.ndarray]
"""By quantity, probability or entropy: the edges of its bins, ascending, the upper one of a bin inside."""


@dataclass(frozen=True)
class Tail:
    """The tokens above a covariance, and of those equal to it the first in the order of steps and rows.

    These are all of the steps before ``step`` and ``ties`` of that step; all there are where it is None.
    """

    threshold: float
    step: int | None = None
    ties: int = 0

    def ties_of(self, source: StepSource) -> int:
        """At most how many tokens of the step that are equal to the threshold are inside."""
        if self.step is None or source.step < self.step:
            return source.n_tokens
        return self.ties if source.step == self.step else 0


@dataclass(frozen=True, eq=False)
class StepTables:
    """Counts of one step or, merged, of several; `cells` by quantity: quadrant, probability, entropy."""

    totals: Totals
    cells: Mapping[str, CellCounts]

    def merge(self, other: StepTables) -> StepTables:
        """Of the union of two disjoint sets of steps."""
        cells = {name: counts.merge(other.cells[name]) for name, counts in self.cells.items()}
        return StepTables(self.totals.merge(other.totals), cells)


@dataclass(frozen=True, eq=False)
class StepPrompts:
    """The prompts of a step, in the order of their first rows: ids [prompts], tokens by set [prompts, S]."""

    step: int
    ids: np.ndarray
    counts: np.ndarray


Lowers = tuple[tuple[LowerCounts, ...], ...]
"""By set and column of RANKED."""


def upper_of_step(source: StepSource) -> dict[str, UpperCounts]:
    """Upper counts of covariance and finite entropy.

    Every column is read, so that no later pass finds a damaged one. Raises `RunFormatError` where a
    covariance, logprob or advantage is not finite.
    """
    _centres(source)
    return reduce(merge_upper, (_upper(source, batch) for batch in source.rows("tokens", _COLUMNS)))


def _upper(source: StepSource, batch: pa.RecordBatch) -> dict[str, UpperCounts]:
    for name in _FINITE:
        if not np.isfinite(batch[name].to_numpy()).all():
            raise RunFormatError(f"{source}: a {name} is not finite")
    values = {name: finite(_numbers(batch, name)) for name in ("covariance", "entropy")}
    return {name: UpperCounts.of(x, ordered_bits(x)) for name, x in values.items()}


def merge_upper(a: Mapping[str, UpperCounts], b: Mapping[str, UpperCounts]) -> dict[str, UpperCounts]:
    """Of the union of two disjoint sets of tokens, by column."""
    return {name: counts.merge(b[name]) for name, counts in a.items()}


def lower_of_step(source: StepSource, uppers: Mapping[str, set[int]]) -> dict[str, LowerCounts]:
    """Lower counts of the upper halves that are wanted of each column."""
    return reduce(
        merge_columns,
        (
            {name: _lower(_numbers(batch, name), places) for name, places in uppers.items()}
            for batch in source.rows("tokens", list(uppers))
        ),
    )


def _lower(values: np.ndarray, uppers: set[int]) -> LowerCounts:
    return lower_counts(ordered_bits(finite(values)), uppers)


def merge_columns(a: Mapping[str, LowerCounts], b: Mapping[str, LowerCounts]) -> dict[str, LowerCounts]:
    """Of the union of two disjoint sets of tokens, by column."""
    return {name: merge_lower([counts, b[name]]) for name, counts in a.items()}


def ties_of_step(source: StepSource, threshold: float) -> int:
    """How many tokens have exactly this covariance."""
    batches = source.rows("tokens", ("covariance",))
    return sum(int(np.count_nonzero(batch["covariance"].to_numpy() == threshold)) for batch in batches)


def tables_of_step(source: StepSource, tail: Tail, edges: Edges) -> tuple[StepTables, StepPrompts]:
    """What the tables are made of, but for the prompts of single token ids."""
    centres, places = _centres(source), _PromptPlaces()
    n_cells = {"quadrant": len(QUADRANTS), **{name: len(edge) - 1 for name, edge in edges.items()}}
    counts = {name: np.zeros((0, _SETS, k), dtype=np.int64) for name, k in n_cells.items()}

    def counted() -> Iterator[Totals]:
        for batch, members in _with_sets(source, tail, _COLUMNS):
            cells = {"quadrant": _quadrants(batch, centres), **_bins(batch, edges)}
            prompts = places.of(batch["prompt_id"].to_numpy())
            for name, k in n_cells.items():
                counts[name] = padded_sum(counts[name], counts_by_prompt(prompts, cells[name], members, k))
            yield Totals.of(batch, cells["quadrant"], members)

    totals = reduce(Totals.merge, counted())
    tables = StepTables(totals, {name: CellCounts.of(found) for name, found in counts.items()})
    return tables, StepPrompts(source.step, places.ids, counts["quadrant"].sum(axis=2))


def ids_of_step(
    source: StepSource, tail: Tail, ids: Sequence[int], uppers: Sequence[Sequence[set[int]]]
) -> tuple[CellCounts, Lowers]:
    """Counts of some token ids by prompt (the last cell: all others), and the lower counts for the medians.

    ``uppers``: by set and column of RANKED.
    """
    places, wanted = _PromptPlaces(), pa.array(ids, pa.int32())
    counts = np.zeros((0, _SETS, len(ids) + 1), dtype=np.int64)
    lowers: Lowers | None = None
    for batch, members in _with_sets(
        source, tail, ("prompt_id", "token_id", "covariance", "selected", *RANKED)
    ):
        cells = pc.fill_null(pc.index_in(batch["token_id"], value_set=wanted), len(ids)).to_numpy()
        prompts = places.of(batch["prompt_id"].to_numpy())
        counts = padded_sum(counts, counts_by_prompt(prompts, cells, members, len(ids) + 1))
        found = _lowers(batch, members, uppers)
        lowers = found if lowers is None else merge_lowers(lowers, found)
    assert lowers is not None, "a step has tokens"
    return CellCounts.of(counts), lowers


def _lowers(batch: pa.RecordBatch, members: Sequence[Member], uppers: Sequence[Sequence[set[int]]]) -> Lowers:
    values = [_numbers(batch, name) for name in RANKED]
    return tuple(
        tuple(_lower(x[member], places) for x, places in zip(values, of_set, strict=True))
        for member, of_set in zip(members, uppers, strict=True)
    )


def merge_lowers(a: Lowers, b: Lowers) -> Lowers:
    """Of the union of two disjoint sets of tokens, by set and column."""
    return tuple(
        tuple(merge_lower(same) for same in zip(mine, theirs, strict=True))
        for mine, theirs in zip(a, b, strict=True)
    )


class _PromptPlaces:
    """Numbers prompt ids in the order in which they first come; rows of one prompt are mostly together."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}

    def of(self, ids: np.ndarray) -> np.ndarray:
        starts = np.ones(len(ids), dtype=bool)
        starts[1:] = ids[1:] != ids[:-1]
        places = [self._places.setdefault(i, len(self._places)) for i in ids[starts].tolist()]
        return np.array(places, dtype=np.int64)[np.cumsum(starts) - 1]

    @property
    def ids(self) -> np.ndarray:
        return np.array(list(self._places), dtype=np.int64)


def _with_sets(
    source: StepSource, tail: Tail, names: Sequence[str]
) -> Iterator[tuple[pa.RecordBatch, tuple[Member, ...]]]:
    """Rows with the members of the sets all, selected and tail."""
    left = tail.ties_of(source)
    for batch in source.rows("tokens", names):
        covariance = batch["covariance"].to_numpy()
        tied = covariance == tail.threshold
        first = tied & (np.cumsum(tied) <= left)
        left -= int(np.count_nonzero(first))
        selected = batch["selected"].to_numpy(zero_copy_only=False)
        yield batch, (slice(None), selected, (covariance > tail.threshold) | first)


def _centres(source: StepSource) -> np.ndarray:
    """Mean logprob and advantage of each update over all tokens of all ranks, [updates, 2]."""
    rows = update_rows(source.markers, {})
    means = {int(str(row["update"])): (row["logprob_mean"], row["advantage_mean"]) for row in rows}
    centres = np.full((max(means) + 1, 2), np.nan)
    for update, pair in means.items():
        if None in pair:
            raise RunFormatError(f"{source}: a logprob or advantage of update {update} is not finite")
        centres[update] = pair
    return centres


def _quadrants(batch: pa.RecordBatch, centres: np.ndarray) -> np.ndarray:
    centre = centres[batch["update"].to_numpy()].T
    return quadrant_index(batch["logprob"].to_numpy(), batch["advantage"].to_numpy(), (centre[0], centre[1]))


def _bins(batch: pa.RecordBatch, edges: Edges) -> dict[str, np.ndarray]:
    """The bin of each token by quantity; their number where it is not recorded."""
    found = {}
    for name, edge in edges.items():
        values = _numbers(batch, "entropy" if name == "entropy" else "logprob").astype(np.float64)
        values = values if name == "entropy" else np.exp(values)
        cells = np.searchsorted(edge[1:-1], values, side="left")
        found[name] = np.where(np.isfinite(values), cells, len(edge) - 1)
    return found


def _numbers(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """A column of floats, NaN where it is null."""
    return batch[name].to_numpy(zero_copy_only=False)
