"""What adds up over tokens of several sets: exact sums, and counts by position, token id and value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..record.bit_counts import UpperCounts, exact_sum, ordered_bits
from ..schema import QUADRANTS
from .attribution_cells import Member, padded_sum

SUMMED = ("probability", "entropy", "logprob", "advantage", "covariance")
"""The columns of `Totals.sums`."""

RANKED = ("logprob", "entropy")
"""The columns of `Totals.upper`; what their medians are made of."""


def finite(values: np.ndarray) -> np.ndarray:
    """The values that are recorded and finite."""
    return values[np.isfinite(values)]


@dataclass(frozen=True, eq=False)
class IdCounts:
    """How often each token id, ascending [m], is in each set: int64 [S, m]."""

    ids: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, ids: pa.Array, members: Sequence[Member]) -> IdCounts:
        """Of a column of ids; those that are missing are left out."""
        parts = []
        for place, member in enumerate(members):
            held = ids if isinstance(member, slice) else ids.filter(pa.array(member))
            found = held.drop_null().value_counts()
            count = np.zeros((len(members), len(found)), dtype=np.int64)
            count[place] = found.field("counts").to_numpy()
            parts.append(cls(found.field("values").to_numpy(), count))
        return merge_ids(parts)


def merge_ids(parts: Sequence[IdCounts]) -> IdCounts:
    """Of the union of disjoint sets of tokens."""
    ids, place = np.unique(np.concatenate([p.ids for p in parts]), return_inverse=True)
    count = np.zeros((len(parts[0].count), len(ids)), dtype=np.int64)
    np.add.at(count.T, place, np.concatenate([p.count for p in parts], axis=1).T)
    return IdCounts(ids, count)


@dataclass(frozen=True, eq=False)
class Totals:
    """Of tokens of S sets; merged in any order and split they are the same to the last bit.

    `sums` [S, SUMMED] and `masses` [S, quadrants] are the whole numbers of `exact_sum`, of finite values;
    `positions` int64 [longest response, S]; `upper`: by set and column of RANKED.
    """

    sums: np.ndarray
    masses: np.ndarray
    positions: np.ndarray
    ids: IdCounts
    upper: tuple[tuple[UpperCounts, ...], ...]

    @classmethod
    def of(cls, batch: pa.RecordBatch, quadrant: np.ndarray, members: Sequence[Member]) -> Totals:
        """Of rows with the columns position, token_id and those of SUMMED, and their quadrants [n]."""
        columns = {c: batch[c].to_numpy(zero_copy_only=False) for c in SUMMED[1:]}
        position, covariance = batch["position"].to_numpy(), columns["covariance"]
        length = int(position.max(initial=-1)) + 1
        sums = [[_probability_sum(columns["logprob"][m])] for m in members]
        for row, m in zip(sums, members, strict=True):
            row += [exact_sum(finite(columns[c][m])) for c in SUMMED[1:]]
        masses = [
            [exact_sum(covariance[m][quadrant[m] == q]) for q in range(len(QUADRANTS))] for m in members
        ]
        return cls(
            sums=np.array(sums, dtype=object),
            masses=np.array(masses, dtype=object),
            positions=np.stack([np.bincount(position[m], minlength=length) for m in members], axis=1),
            ids=IdCounts.of(batch["token_id"], members),
            upper=tuple(tuple(_upper(finite(columns[c][m])) for c in RANKED) for m in members),
        )

    def merge(self, other: Totals) -> Totals:
        """Of the union of two disjoint sets of tokens."""
        return Totals(
            self.sums + other.sums,
            self.masses + other.masses,
            padded_sum(self.positions, other.positions),
            merge_ids([self.ids, other.ids]),
            tuple(
                tuple(a.merge(b) for a, b in zip(mine, theirs, strict=True))
                for mine, theirs in zip(self.upper, other.upper, strict=True)
            ),
        )


def _upper(values: np.ndarray) -> UpperCounts:
    return UpperCounts.of(values, ordered_bits(values))


def _probability_sum(logprob: np.ndarray) -> int:
    """`exact_sum` of exp(logprob) in float64, each rounded to its first 48 bits (two fp32 values)."""
    probability = np.exp(logprob.astype(np.float64))
    first = probability.astype(np.float32)
    return exact_sum(first) + exact_sum((probability - first).astype(np.float32))
