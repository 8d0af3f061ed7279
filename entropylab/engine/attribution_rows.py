"""The token rows of a step with what an attribution asks of each: its sets, prompt, quadrant and bins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa

from ..errors import RunFormatError
from ..record.merging import update_rows
from ..record.step_source import StepSource
from ..record.summary import quadrant_index
from .attribution_cells import Member

N_SETS = 3
"""All tokens, the selected, the tail, in this order."""

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


class PromptPlaces:
    """Numbers prompt ids in the order in which they first come; rows of one prompt are mostly together."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}

    def of(self, ids: np.ndarray) -> np.ndarray:
        """The number of each id, [n]."""
        starts = np.ones(len(ids), dtype=bool)
        starts[1:] = ids[1:] != ids[:-1]
        places = [self._places.setdefault(i, len(self._places)) for i in ids[starts].tolist()]
        return np.array(places, dtype=np.int64)[np.cumsum(starts) - 1]

    @property
    def ids(self) -> np.ndarray:
        """The ids by number."""
        return np.array(list(self._places), dtype=np.int64)


def with_sets(
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


def centres_of(source: StepSource) -> np.ndarray:
    """Mean logprob and advantage of each update over all tokens of all ranks, [updates, 2].

    Raises `RunFormatError` where one of the values is not finite.
    """
    rows = [row for row in update_rows(source.markers, {}) if row["n_tokens"]]
    means = {cast("int", row["update"]): (row["logprob_mean"], row["advantage_mean"]) for row in rows}
    centres = np.full((max(means) + 1, 2), np.nan)
    for update, pair in means.items():
        if None in pair:
            raise RunFormatError(f"{source}: a logprob or advantage of update {update} is not finite")
        centres[update] = pair
    return centres


def quadrants_in(batch: pa.RecordBatch, centres: np.ndarray) -> np.ndarray:
    """The quadrant of each row, [n], about the `centres_of` its step."""
    centre = centres[batch["update"].to_numpy()].T
    return quadrant_index(batch["logprob"].to_numpy(), batch["advantage"].to_numpy(), (centre[0], centre[1]))


def bins_in(batch: pa.RecordBatch, edges: Edges) -> dict[str, np.ndarray]:
    """The bin of each token by quantity; their number where it is not recorded."""
    values = {name: numbers(batch, name).astype(np.float64) for name in ("logprob", "entropy")}
    values["probability"] = np.exp(values.pop("logprob"))
    found = {}
    for name, edge in edges.items():
        cells = np.searchsorted(edge[1:-1], values[name], side="left")
        found[name] = np.where(np.isfinite(values[name]), cells, len(edge) - 1)
    return found


def numbers(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """A column of floats, NaN where it is null."""
    return batch[name].to_numpy(zero_copy_only=False)
