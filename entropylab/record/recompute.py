"""The exact summary of one step from its rows, as the recorder made it from the tensors.

Tokens are taken response by response in pieces of bounded size: memory does not grow with the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import RunFormatError
from ..schema import RESPONSE_COLUMNS, TOKEN_COLUMNS
from .exact_rows import COLUMNS, Chunk, chunks_of, exact_rows, twice
from .marker import Marker, UpdateSummary
from .merging import ExactRows
from .summary import Partial, summarize
from .token_set import TokenSet

TOKEN_NAMES = (
    "update",
    "micro_step",
    "logprob",
    "old_logprob",
    "ref_logprob",
    "entropy",
    "entropy_after",
    "advantage",
    "covariance",
    "influence",
    "selected",
    "clipped",
)
RESPONSE_NAMES = ("update", "micro_step", "reward", "length")
"""Columns that are read of the token and of the response rows."""

CHUNK_TOKENS = 1 << 20
"""A piece ends before the response that would exceed this."""


@dataclass(frozen=True)
class RankRows:
    """The rows of one rank's step: each function takes the names of columns and reads them from the start."""

    marker: Marker
    tokens: Callable[[Sequence[str]], Iterable[pa.RecordBatch]]
    responses: Callable[[Sequence[str]], Iterable[pa.RecordBatch]]


def recompute(ranks: Sequence[RankRows]) -> tuple[tuple[Marker, ...], ExactRows]:
    """The markers of a step as its rows give them, and what does not merge over them.

    All tokens must be stored. The importance ratio of the loss and the metrics are not in the rows and stay
    as recorded. Raises `RunFormatError` where token rows, response rows and marker do not agree.
    """
    markers: list[Marker] = []

    def first() -> Iterator[Chunk]:
        for rank in ranks:
            partials: dict[int, Partial] = {}
            for update, tokens in token_sets(rank):
                partials[update] = partials.get(update, Partial()).merge(summarize(tokens))
                yield Chunk(update, tokens.logprob, tokens.advantage, tokens.covariance, tokens.selected)
            markers.append(_recomputed(rank.marker, partials))

    def again() -> Iterator[Chunk]:
        for rank in ranks:
            yield from chunks_of(rank.tokens(COLUMNS))

    chunks = twice(first, sum(rank.marker.n_tokens for rank in ranks), again)
    exact = exact_rows(chunks)
    return tuple(markers), exact


def _recomputed(marker: Marker, partials: Mapping[int, Partial]) -> Marker:
    """A marker with the partial summaries of its rows."""
    missing = sorted(partials.keys() ^ {u.update for u in marker.updates})
    if missing:
        raise RunFormatError(f"{_name(marker)}: rows and marker do not hold the same updates: {missing}")
    updates = tuple(replace(u, partial=_with_ratio(partials[u.update], u)) for u in marker.updates)
    return replace(marker, updates=updates)


def _with_ratio(partial: Partial, recorded: UpdateSummary) -> Partial:
    """A partial summary with what only the loss knew: its ratio, and values not finite besides the rows'."""
    moments = {name: m for name, m in partial.moments.items() if name != "ratio"}
    if "ratio" in recorded.partial.moments:
        moments["ratio"] = recorded.partial.moments["ratio"]
    return replace(
        partial,
        moments=moments,
        ratio_max=recorded.partial.ratio_max,
        nonfinite_count=recorded.partial.nonfinite_count,
    )


def token_sets(rank: RankRows) -> Iterator[tuple[int, TokenSet]]:
    """(update, tokens) of the micro-steps of a rank in order, long ones in pieces of whole responses."""
    responses = pa.Table.from_batches(rank.responses(RESPONSE_NAMES), _RESPONSES)
    columns = {name: responses[name].to_numpy() for name in ("update", "micro_step", "length")}
    rewards = None if responses["reward"].null_count else responses["reward"].to_numpy()
    rows = _Rows(rank.tokens(TOKEN_NAMES))
    for first, last in _pieces(**columns):
        lengths = columns["length"][first:last]
        key = columns["update"][first], columns["micro_step"][first]
        table = rows.take(int(lengths.sum()))
        if table is None or any(_differs(table[name], value) for name, value in zip(_KEY, key, strict=True)):
            raise RunFormatError(f"{_name(rank.marker)}: token rows are not those of the response rows")
        reward = None if rewards is None else rewards[first:last]
        yield int(key[0]), _token_set(table, lengths, reward, rank.marker)
    if rows.take(1) is not None:
        raise RunFormatError(f"{_name(rank.marker)}: holds more token rows than its responses are long")


_KEY = ("update", "micro_step")
_MOMENT_OF = {"old_logprob": "kl_k1", "ref_logprob": "kl_ref_k1", "selected": "selected_covariance"}
"""The variable whose moments tell that a column was recorded, where it is not called the same."""

_TOKENS = pa.schema([next(c.field() for c in TOKEN_COLUMNS if c.name == name) for name in TOKEN_NAMES])
_RESPONSES = pa.schema([c.field() for c in RESPONSE_COLUMNS if c.name in RESPONSE_NAMES])


def _name(marker: Marker) -> str:
    path = f" ({marker.tokens.path})" if marker.tokens else ""
    return f"step {marker.step}, rank {marker.rank}{path}"


def _pieces(update: np.ndarray, micro_step: np.ndarray, length: np.ndarray) -> Iterator[tuple[int, int]]:
    """(first, last) response of each piece."""
    changes = np.flatnonzero((np.diff(update) != 0) | (np.diff(micro_step) != 0)) + 1
    for first, last in pairwise([0, *changes.tolist(), len(update)]):
        while first < last:
            held = np.cumsum(length[first:last])
            end = first + max(1, int(np.searchsorted(held, CHUNK_TOKENS, side="right")))
            yield first, end
            first = end


def _differs(column: pa.ChunkedArray, value: int) -> bool:
    found = pc.min_max(column).as_py()
    return found["min"] is not None and (found["min"], found["max"]) != (value, value)


class _Rows:
    """Record batches as tables of any number of rows."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = iter(batches)
        self._held: list[pa.RecordBatch] = []

    def take(self, n: int) -> pa.Table | None:
        """The next n rows, None where fewer are left."""
        while (have := sum(batch.num_rows for batch in self._held)) < n:
            batch = next(self._batches, None)
            if batch is None:
                return None
            self._held.append(batch)
        table = pa.Table.from_batches(self._held, _TOKENS)
        self._held = table.slice(n).to_batches() if have > n else []
        return table.slice(0, n)


def _token_set(table: pa.Table, lengths: np.ndarray, rewards: np.ndarray | None, marker: Marker) -> TokenSet:
    recorded = {name for update in marker.updates for name in update.partial.moments}
    given: dict[str, Any] = {
        name: _values(table[name])
        for name in TOKEN_NAMES
        if name not in _KEY and (table.num_rows or _MOMENT_OF.get(name, name) in recorded)
    }
    return TokenSet(
        response=np.repeat(np.arange(len(lengths)), lengths),
        n_responses=len(lengths),
        reward=rewards,
        **given,
    )


def _values(column: pa.ChunkedArray) -> np.ndarray | None:
    """The values; None where none was recorded."""
    if len(column) and column.null_count == len(column):
        return None
    return column.combine_chunks().to_numpy(zero_copy_only=False)
