"""What a worker does with one step of an attribution: five functions from its rows to counts that merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..analysis.prompt_units import prompt_units
from ..errors import RunFormatError
from ..record.bit_counts import LowerCounts, UpperCounts, lower_counts, merge_lower, ordered_bits
from ..record.step_source import StepSource
from ..schema import NO_PROMPT, QUADRANTS
from .attribution_cells import CellCounts, Member, counts_by_prompt, padded_sum
from .attribution_rows import (
    N_SETS,
    Edges,
    PromptPlaces,
    Tail,
    bins_in,
    centres_of,
    numbers,
    quadrants_in,
    with_sets,
)
from .attribution_totals import RANKED, Totals, finite

_FINITE = ("covariance", "logprob", "advantage")
_COLUMNS = ("update", "prompt_id", "sample_id", "position", "token_id", "entropy", "selected", *_FINITE)
_OF_IDS = ("prompt_id", "sample_id", "token_id", "covariance", "selected", *RANKED)


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
    """The prompts of a step, in the order of their first rows: ids [prompts], tokens by set [prompts, S].

    ``unnamed``: whether responses stand in for prompts that were not recorded.
    """

    step: int
    ids: np.ndarray
    counts: np.ndarray
    unnamed: bool


Lowers = tuple[tuple[LowerCounts, ...], ...]
"""By set and column of RANKED."""


def upper_of_step(source: StepSource) -> dict[str, UpperCounts]:
    """Upper counts of covariance and finite entropy.

    Every column is read, so that no later pass finds a damaged one. Raises `RunFormatError` where a
    covariance, logprob or advantage is not finite.
    """
    centres_of(source)
    return reduce(merge_upper, (_upper(source, batch) for batch in source.rows("tokens", _COLUMNS)))


def _upper(source: StepSource, batch: pa.RecordBatch) -> dict[str, UpperCounts]:
    for name in _FINITE:
        if not np.isfinite(batch[name].to_numpy()).all():
            raise RunFormatError(f"{source}: a {name} is not finite")
    values = {name: finite(numbers(batch, name)) for name in ("covariance", "entropy")}
    return {name: UpperCounts.of(x, ordered_bits(x)) for name, x in values.items()}


def merge_upper(a: Mapping[str, UpperCounts], b: Mapping[str, UpperCounts]) -> dict[str, UpperCounts]:
    """Of the union of two disjoint sets of tokens, by column."""
    return {name: counts.merge(b[name]) for name, counts in a.items()}


def lower_of_step(source: StepSource, uppers: Mapping[str, set[int]]) -> dict[str, LowerCounts]:
    """Lower counts of the upper halves that are wanted of each column."""
    return reduce(
        merge_columns,
        (
            {name: _lower(numbers(batch, name), places) for name, places in uppers.items()}
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
    centres, places = centres_of(source), PromptPlaces()
    n_cells = {"quadrant": len(QUADRANTS), **{name: len(edge) - 1 for name, edge in edges.items()}}
    counts = {name: np.zeros((0, N_SETS, k), dtype=np.int64) for name, k in n_cells.items()}
    unnamed = False

    def counted() -> Iterator[Totals]:
        nonlocal unnamed
        for batch, members in with_sets(source, tail, _COLUMNS):
            unnamed |= bool((batch["prompt_id"].to_numpy() == NO_PROMPT).any())
            cells = {"quadrant": quadrants_in(batch, centres), **bins_in(batch, edges)}
            prompts = places.of(_units(batch))
            for name, k in n_cells.items():
                counts[name] = padded_sum(counts[name], counts_by_prompt(prompts, cells[name], members, k))
            yield Totals.of(batch, cells["quadrant"], members)

    totals = reduce(Totals.merge, counted())
    tables = StepTables(totals, {name: CellCounts.of(found) for name, found in counts.items()})
    return tables, StepPrompts(source.step, places.ids, counts["quadrant"].sum(axis=2), unnamed)


def ids_of_step(
    source: StepSource, tail: Tail, ids: Sequence[int], uppers: Sequence[Sequence[set[int]]]
) -> tuple[CellCounts, Lowers]:
    """Counts of some token ids by prompt (the last cell: all others), and the lower counts for the medians.

    ``uppers``: by set and column of RANKED.
    """
    places, wanted = PromptPlaces(), pa.array(ids, pa.int32())
    counts = np.zeros((0, N_SETS, len(ids) + 1), dtype=np.int64)
    lowers: Lowers | None = None
    for batch, members in with_sets(source, tail, _OF_IDS):
        cells = pc.fill_null(pc.index_in(batch["token_id"], value_set=wanted), len(ids)).to_numpy()
        prompts = places.of(_units(batch))
        counts = padded_sum(counts, counts_by_prompt(prompts, cells, members, len(ids) + 1))
        found = _lowers(batch, members, uppers)
        lowers = found if lowers is None else merge_lowers(lowers, found)
    assert lowers is not None, "a step has tokens"
    return CellCounts.of(counts), lowers


def _units(batch: pa.RecordBatch) -> np.ndarray:
    return prompt_units(batch["prompt_id"].to_numpy(), batch["sample_id"].to_numpy())


def _lowers(batch: pa.RecordBatch, members: Sequence[Member], uppers: Sequence[Sequence[set[int]]]) -> Lowers:
    values = [numbers(batch, name) for name in RANKED]
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
